/**
 * All-reduce of float32 between processes of this machine, 64 KB to 100 MB: shared memory, TCP and bfloat16 over TCP beside
 * Gloo (torch.distributed) and OpenMPI in the same run, in turns. A turn is some all-reduces in place one after the other,
 * after a barrier, the same number for everybody; a time is that of the slowest rank; sums are checked after each turn, when
 * everybody is through. The ring in C shows what the system's calls alone take over TCP.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/all-reduce.ts
 *       [--quick] [--ranks 2,4] [--sizes 64,1000,25000,100000] [--bind] [--seconds 10] [--json FILE] [--plot FILE.svg]
 *
 * --bind keeps our ranks to their shares of the cores, as `clip-gen train --bind` does. Peers run as they come and bound to
 * the same cores; the better one counts.
 */
import { writeFile } from 'node:fs/promises';
import { startFloor, startGloo, startMpi, startOwn, type Ask, type RankGroup } from './all-reduce-groups.ts';
import { bandwidthPlot } from './bandwidth-plot.ts';
import {
  benchOptions,
  contender,
  interleave,
  least,
  machine,
  median,
  printTable,
  saveFigures,
  type Contender,
} from './measure.ts';

const { quick, json, ranks, sizes, bind, plot, seconds } = benchOptions({
  ranks: { type: 'string', default: '2,4' },
  sizes: { type: 'string' },
  bind: { type: 'boolean', default: false },
  plot: { type: 'string' },
  seconds: { type: 'string', default: '10' },
});
const KB = 1000;
const SIZES = (sizes ?? (quick ? '64,1000' : '64,1000,25000,100000')).split(',').map((size) => Number(size) * KB);

/** No round of a size begins after it; large ones take longer. */
const budgetMs = (bytes: number): number => Number(seconds) * (bytes > 4000 * KB ? 1500 : 500);

interface Row {
  readonly ranks: number;
  readonly bytes: number;
  readonly way: string;
  /** Median and least milliseconds of one all-reduce. */
  readonly ms: number;
  readonly leastMs: number;
  readonly rounds: number;
  /** Bytes a rank sent over 2·S·(n − 1)/n; 0 through shared memory. */
  readonly wireRatio?: number;
}

const rows: Row[] = [];
console.log(`all-reduce${bind ? ', ranks bound to cores' : ''}; ${machine()}`);
for (const worldSize of ranks.split(',').map(Number)) await compare(worldSize);
printTable(
  ['ranks, size, way', 'ms', 'least', 'rounds', 'GB/s', '× Gloo', '× OpenMPI', 'sent / least'],
  rows.map(({ ranks: n, bytes, way, ms, leastMs, rounds, wireRatio }) => {
    const over = (peer: string): number | string => {
      const of = rows.filter((row) => row.ranks === n && row.bytes === bytes && row.way.startsWith(peer));
      return of.length > 0 ? Math.min(...of.map((row) => row.ms)) / ms : '–';
    };
    const ratio = wireRatio === undefined ? '–' : wireRatio.toFixed(3);
    const [name, speed] = [`${n}, ${bytes / KB} KB, ${way}`, bytes / ms / 1e6];
    return [name, ms, leastMs, String(rounds), speed, over('Gloo'), over('OpenMPI'), ratio];
  }),
);
await saveFigures(json, { bind, rows });
if (plot !== undefined) {
  const panels = [...new Set(rows.map((row) => row.ranks))].map((n) => ({
    title: `${n} ranks on one machine`,
    points: rows
      .filter((row) => row.ranks === n)
      .map(({ way, bytes, ms }) => ({ series: way, bytes, gigabytesPerSecond: bytes / ms / 1e6 })),
  }));
  await writeFile(plot, bandwidthPlot(panels));
}

async function compare(worldSize: number): Promise<void> {
  const memory = await startOwn(worldSize, { transport: 'auto', bind });
  const tcp = await startOwn(worldSize, { transport: 'tcp', bind });
  if (tcp.cores)
    console.log(`${worldSize} ranks keep to cores ${tcp.cores.map((cores) => cores.join('+')).join(', ')}`);
  const peers = [
    { way: 'Gloo', group: await startGloo(worldSize) },
    { way: 'OpenMPI', group: await startMpi(worldSize) },
    { way: 'TCP, ring in C', group: await startFloor(worldSize, tcp.cores) },
    ...(tcp.cores
      ? [
          { way: 'Gloo, bound', group: await startGloo(worldSize, tcp.cores) },
          { way: 'OpenMPI, bound', group: await startMpi(worldSize, tcp.cores) },
        ]
      : []),
  ];
  if (!memory.sharesMemory) console.log('shared memory does not work here: "auto" goes over Unix sockets');
  for (const bytes of SIZES) {
    const elements = bytes / 4;
    // Short ones many times, so that a turn is milliseconds; at most 40, for sums of 4 ranks grow to 4^40.
    const repeats = Math.min(40, Math.max(2, Math.round((25_000 * KB) / bytes)));
    const sent = new Map<string, number>();
    const turns = (way: string, group: RankGroup, ask: Partial<Ask> = {}): Contender =>
      contender(way, async () => {
        const { ms, bytesSent } = await group.reduce({ elements, repeats, allocated: true, options: {}, ...ask });
        const fewest = (2 * bytes * (worldSize - 1)) / worldSize;
        if (bytesSent !== undefined)
          sent.set(way, bytesSent / (ask.options?.wire === 'bfloat16' ? fewest / 2 : fewest));
        return ms;
      });
    const contenders = [
      turns('auto, allocated', memory),
      turns('auto, copied', memory, { allocated: false }),
      turns('TCP', tcp),
      turns('TCP, bfloat16', tcp, { options: { wire: 'bfloat16' } }),
      ...peers.flatMap(({ way, group }) => (group ? [turns(way, group)] : [])),
    ];
    await interleave(contenders, {
      // Node compiles what is called often meanwhile, on the same cores.
      warmup: quick ? 1 : bytes > 4000 * KB ? 6 : 12,
      rounds: quick ? 3 : 25,
      budgetMs: budgetMs(bytes),
    });
    for (const { name, times } of contenders) {
      const wireRatio = sent.get(name);
      const [ms, leastMs, rounds] = [median(times), least(times), times.length];
      rows.push({ ranks: worldSize, bytes, way: name, ms, leastMs, rounds, wireRatio });
    }
  }
  for (const group of [memory, tcp, ...peers.map((peer) => peer.group)]) group?.close();
}
