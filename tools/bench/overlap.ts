/**
 * How much of the gradients' exchange is hidden behind the backward pass: two processes, each in a network of its own, over
 * a cable of `--mbit`, train a transformer as one graph and in segments. A time is that of the slower process. Making
 * networks takes the rights of root on Linux (`ip`, `tc`); elsewhere only what the cuts themselves cost is measured.
 * `--mbit 0`: two processes of one host, through shared memory. `--channels N`: the VQGAN with so many channels instead.
 *
 *     node --import tsx tools/bench/overlap.ts [--mbit 1000] [--width 512] [--layers 6] [--tokens 64] [--channels 64]
 *         [--batch 8] [--threads 1] [--alone] [--quick] [--json FILE]
 */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { benchOptions, contender, interleave, least, machine, median, printTable, saveFigures } from './measure.ts';
import type { RankHello, RankOptions, RankRequest, RankTimes } from './overlap-rank.ts';

const options = benchOptions({
  mbit: { type: 'string', default: '1000' },
  width: { type: 'string', default: '512' },
  layers: { type: 'string', default: '6' },
  tokens: { type: 'string', default: '64' },
  channels: { type: 'string' },
  batch: { type: 'string', default: '8' },
  threads: { type: 'string', default: '1' },
  alone: { type: 'boolean', default: false },
});
const { quick } = options;

const NETWORKS = [`clip-gen-a-${process.pid}`, `clip-gen-b-${process.pid}`] as const;
const [A, B] = NETWORKS;
const ENDS = [`cga${process.pid}`, `cgb${process.pid}`] as const;
const run = (line: string): boolean => spawnSync(line.split(' ')[0]!, line.split(' ').slice(1)).status === 0;

/** Two networks joined by a cable. Queues hold what a switch would. @returns whether that is allowed here */
function layCable(mbit: number): boolean {
  const steps = [
    `ip netns add ${A}`,
    `ip netns add ${B}`,
    `ip link add ${ENDS[0]} netns ${A} type veth peer name ${ENDS[1]} netns ${B}`,
    ...NETWORKS.flatMap((network, i) => [
      `ip -n ${network} addr add 10.231.8.${i + 1}/24 dev ${ENDS[i]}`,
      `ip -n ${network} link set ${ENDS[i]} up`,
      `ip -n ${network} link set lo up`,
      `tc -n ${network} qdisc add dev ${ENDS[i]} root tbf rate ${mbit}mbit burst 256kb latency 20ms`,
    ]),
  ];
  return steps.every(run);
}

interface Rank {
  readonly hello: RankHello;
  ask(request: RankRequest): Promise<RankTimes>;
  close(): void;
}

async function startRank(rank: number, worldSize: number): Promise<Rank> {
  const program = fileURLToPath(new URL('overlap-rank.ts', import.meta.url));
  const given: RankOptions = {
    ...{
      rank,
      worldSize,
      rendezvous: hasCable ? '10.231.8.1:29500' : '127.0.0.1:29507',
    },
    model:
      options.channels === undefined
        ? {
            ...{ width: Number(options.width), layers: Number(options.layers), heads: Number(options.width) / 64 },
            tokens: Number(options.tokens),
          }
        : { channels: Number(options.channels) },
    ...{ batch: Number(options.batch), threads: Number(options.threads) },
  };
  const words = [process.execPath, '--import', 'tsx', program, JSON.stringify(given)];
  const [command, ...rest] = hasCable ? ['ip', 'netns', 'exec', NETWORKS[rank]!, ...words] : words;
  const child: ChildProcessWithoutNullStreams = spawn(command!, rest);
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async <T>(): Promise<T> => {
    const line = await lines.next();
    if (line.done) throw new Error(`rank ${rank} has ended`);
    return JSON.parse(line.value) as T;
  };
  return {
    hello: await next<RankHello>(),
    ask: (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return next<RankTimes>();
    },
    close: () => void child.stdin.end(),
  };
}

const mbit = Number(options.mbit);
const hasCable = !options.alone && mbit > 0 && layCable(mbit);
const hasPeer = hasCable || (!options.alone && mbit === 0);
const ranks: Rank[] = [];
try {
  const worldSize = hasPeer ? 2 : 1;
  ranks.push(...(await Promise.all(Array.from({ length: worldSize }, (_, rank) => startRank(rank, worldSize)))));
  const answers = new Map<string, readonly RankTimes[]>();
  const way = (name: string, request: RankRequest) =>
    contender(name, async () => {
      const times = await Promise.all(ranks.map((rank) => rank.ask(request)));
      answers.set(name, times);
      return Math.max(...times.map(({ ms }) => ms));
    });
  const ways = {
    whole: way('one graph', { graph: 'whole', reduces: false }),
    segments: way('in segments', { graph: 'segments', reduces: false }),
    ...(hasPeer && {
      exchange: way('the exchange alone', { graph: 'none', reduces: true }),
      wholeReduced: way('one graph, then the exchange', { graph: 'whole', reduces: true }),
      overlapped: way('in segments, exchanging meanwhile', { graph: 'segments', reduces: true }),
    }),
  };
  const all = Object.values(ways);
  await interleave(all, { warmup: 1, rounds: quick ? 3 : 8, budgetMs: quick ? 10_000 : 40_000 });

  const { parameters, segments } = ranks[0]!.hello;
  console.log(
    `a step of ${(parameters / 1e6).toFixed(1)} million parameters, batch ${options.batch}, ` +
      `${options.channels === undefined ? `${options.tokens} tokens` : `${options.channels} channels`}, ` +
      `${options.threads} thread(s) a process, ${segments} segments; ${worldSize} process(es)` +
      `${hasCable ? `, ${mbit} Mbit/s` : ''}; ${machine()}`,
  );
  printTable(
    ['', 'median ms', 'least ms', 'rounds'],
    all.map(({ name, times }) => [name, median(times), least(times), String(times.length)]),
  );
  const cost = median(ways.segments.times) / median(ways.whole.times) - 1;
  console.log(
    `cutting costs ${(100 * cost).toFixed(1)} % of the graph's time (of the least times: ${(
      100 *
      (least(ways.segments.times) / least(ways.whole.times) - 1)
    ).toFixed(1)} %)`,
  );
  let hidden: number | undefined;
  if (ways.exchange && ways.wholeReduced && ways.overlapped) {
    const [exchange, before, after] = [ways.exchange, ways.wholeReduced, ways.overlapped].map(({ times }) =>
      median(times),
    );
    hidden = 1 - (after! - median(ways.segments.times)) / exchange!;
    console.log(
      `${(100 * hidden).toFixed(0)} % of the exchange is hidden; a step takes ${(after! / before!).toFixed(2)}× of one that exchanges at its end`,
    );
    const [own, other] = ['one graph, then the exchange', 'in segments, exchanging meanwhile'].map(
      (name) => answers.get(name)![0]!,
    );
    if (Math.abs(own!.norm / other!.norm - 1) > 1e-6)
      throw new Error(`norms must agree; got ${own!.norm} and ${other!.norm}`);
  }
  await saveFigures(options.json, {
    ...{ bench: 'overlap', parameters, segments, worldSize, options, cost, hidden },
    ways: all.map(({ name, times }) => ({ name, medianMs: median(times), leastMs: least(times) })),
  });
} finally {
  for (const rank of ranks) rank.close();
  for (const network of NETWORKS) run(`ip netns del ${network}`);
}
