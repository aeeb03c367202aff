/**
 * All-reduce of float32 between processes of this machine, 64 KB to 100 MB: shared memory, TCP and bfloat16 over TCP beside
 * Gloo (torch.distributed) in the same run, in turns. A time is that of the slowest rank; sums are checked after each.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/all-reduce.ts [--quick] [--ranks 2,4] [--json FILE]
 */
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { AllReduceOptions, TransportKind } from '../../libs/all-reduce/src/index.ts';
import type { RankRequest, RankTimes } from './all-reduce-rank.ts';
import {
  benchOptions,
  contender,
  interleave,
  machine,
  median,
  printTable,
  saveFigures,
  type Contender,
} from './measure.ts';
import { startTorch, type TorchPeer } from './torch-peer.ts';

const { quick, json, ranks } = benchOptions({ ranks: { type: 'string', default: '2,4' } });
const KB = 1000;
const SIZES = quick ? [64 * KB, 1000 * KB] : [64 * KB, 1000 * KB, 25_000 * KB, 100_000 * KB];

interface OwnGroup {
  /** Milliseconds of the slowest rank, and what a rank sent on average. */
  reduce(request: Omit<RankRequest, 'repeats'>): Promise<{ readonly ms: number; readonly bytesSent: number }>;
  readonly sharesMemory: boolean;
  close(): void;
}

interface Row {
  readonly ranks: number;
  readonly bytes: number;
  readonly way: string;
  readonly ms: number;
  /** Bytes a rank sent over 2·S·(n − 1)/n; 0 through shared memory. */
  readonly wireRatio?: number;
}

const rows: Row[] = [];
console.log(`all-reduce; ${machine()}`);
for (const worldSize of ranks.split(',').map(Number)) await compare(worldSize);
printTable(
  ['ranks, size, way', 'ms', 'GB/s', '× Gloo', 'sent / least'],
  rows.map(({ ranks: n, bytes, way, ms, wireRatio }) => {
    const gloo = rows.find((row) => row.ranks === n && row.bytes === bytes && row.way === 'Gloo');
    return [
      `${n}, ${bytes / KB} KB, ${way}`,
      ms,
      bytes / ms / 1e6,
      gloo ? gloo.ms / ms : '–',
      wireRatio === undefined ? '–' : wireRatio.toFixed(3),
    ];
  }),
);
console.log('OpenMPI is not compared: it does not come as a package of npm or PyTorch');
await saveFigures(json, { rows });

async function compare(worldSize: number): Promise<void> {
  const memory = await startGroup(worldSize, 'auto');
  const tcp = await startGroup(worldSize, 'tcp');
  const gloo = await startGloo(worldSize);
  if (!memory.sharesMemory) console.log('shared memory does not work here: "auto" goes over Unix sockets');
  for (const bytes of SIZES) {
    const elements = bytes / 4;
    const sent = new Map<string, number>();
    const own = (way: string, group: OwnGroup, allocated: boolean, options: AllReduceOptions = {}): Contender =>
      contender(way, async () => {
        const { ms, bytesSent } = await group.reduce({ elements, allocated, options });
        const least = (2 * bytes * (worldSize - 1)) / worldSize;
        sent.set(way, bytesSent / (options.wire === 'bfloat16' ? least / 2 : least));
        return ms;
      });
    const contenders = [
      own('auto, allocated', memory, true),
      own('auto, copied', memory, false),
      own('TCP', tcp, true, { algorithm: 'ring' }),
      own('TCP, bfloat16', tcp, true, { algorithm: 'ring', wire: 'bfloat16' }),
      ...(gloo ? [contender('Gloo', () => gloo.reduce(elements))] : []),
    ];
    await interleave(contenders, { warmup: quick ? 1 : 3, rounds: quick ? 3 : 15, budgetMs: 40_000 });
    for (const { name, times } of contenders) {
      rows.push({ ranks: worldSize, bytes, way: name, ms: median(times), wireRatio: sent.get(name) });
    }
  }
  memory.close();
  tcp.close();
  gloo?.close();
}

async function startGroup(worldSize: number, transport: TransportKind): Promise<OwnGroup> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const script = fileURLToPath(new URL('all-reduce-rank.ts', import.meta.url));
  const ranks = Array.from({ length: worldSize }, (_, rank) => {
    const options = { rank, worldSize, rendezvous, transport, token: 'for the bench alone' };
    const child = spawn(process.execPath, ['--import', 'tsx', script, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async <T>(): Promise<T> => {
      const line: IteratorResult<string, unknown> = await lines.next();
      if (line.done) throw new Error(`rank ${rank} ended early`);
      return JSON.parse(line.value) as T;
    };
    return { child, next };
  });
  const hello = await Promise.all(ranks.map(({ next }) => next<{ sharesMemory: boolean }>()));
  return {
    sharesMemory: hello[0]!.sharesMemory,
    async reduce(request) {
      for (const { child } of ranks) child.stdin.write(`${JSON.stringify({ ...request, repeats: 1 })}\n`);
      const answers = await Promise.all(ranks.map(({ next }) => next<RankTimes>()));
      const ms = Math.max(...answers.map(({ times }) => times[0]!));
      return { ms, bytesSent: answers.reduce((sum, answer) => sum + answer.bytesSent, 0) / worldSize };
    },
    close: () => ranks.forEach(({ child }) => child.stdin.end()),
  };
}

async function startGloo(
  worldSize: number,
): Promise<{ reduce(elements: number): Promise<number>; close(): void } | undefined> {
  const port = await freePort();
  const peers = await Promise.all(
    Array.from({ length: worldSize }, (_, rank) => startTorch('all-reduce.py', { rank, worldSize, port, threads: 1 })),
  );
  const all = peers.filter((peer): peer is TorchPeer => peer !== undefined);
  const close = (): void => all.forEach((peer) => peer.close());
  if (all.length < worldSize) {
    close();
    return undefined;
  }
  return {
    reduce: async (elements) =>
      Math.max(...(await Promise.all(all.map((peer) => peer.ask<{ ms: number }>({ elements })))).map(({ ms }) => ms)),
    close,
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
