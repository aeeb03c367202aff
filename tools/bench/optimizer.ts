/**
 * AdamW over 20 million float32 parameters: the WebAssembly kernels (one thread) beside torch.optim.AdamW in the same
 * run, rounds interleaved, medians.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/optimizer.ts
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { AdamW, globalNorm, ParameterArena } from '../../libs/optimizer/src/index.ts';

const COUNT = 20_000_000;
const ROUNDS = 15;
const WARMUP_ROUNDS = 3;
/** Reads value, gradient and both moments, writes all but the gradient. */
const STEP_BYTES = COUNT * 28;

interface Contender {
  readonly name: string;
  /** One step's milliseconds. */
  readonly run: () => Promise<number> | number;
  readonly bytes: number;
  readonly times: number[];
}

const contenders: Contender[] = [];
function contend(name: string, bytes: number, run: Contender['run']): void {
  contenders.push({ name, bytes, run, times: [] });
}

function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

const arena = new ParameterArena(
  Array.from({ length: 20 }, (_, i) => ({ name: `w${i}`, shape: [COUNT / 20], decay: true })),
);
for (const kind of ['values', 'gradients'] as const) {
  for (const range of arena.ranges(kind)) for (let i = 0; i < range.length; i++) range[i] = Math.sin(i) * 1e-2;
}
const optimizer = new AdamW(arena, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.01 });
const source = new Uint8Array(STEP_BYTES / 2).fill(1);
const target = new Uint8Array(STEP_BYTES / 2).fill(1);

contend('copy of as many bytes (floor)', STEP_BYTES, () => timed(() => target.set(source)));
contend('clip-gen step', STEP_BYTES, () => timed(() => optimizer.step({ learningRate: 1e-3, norm: 1 })));
contend('clip-gen norm + step', STEP_BYTES + COUNT * 4, () =>
  timed(() => optimizer.step({ learningRate: 1e-3, maxNorm: 1e9 })),
);
contend('clip-gen norm', COUNT * 4, () => timed(() => globalNorm(arena)));

const peer = await startTorch();
if (peer) {
  for (const threads of [2, 1]) {
    for (const kind of ['default', 'foreach', 'fused']) {
      contend(`torch ${kind}, threads ${threads}`, STEP_BYTES, () => peer.step({ kind, threads, clip: false }));
    }
    contend(`torch clip + default, threads ${threads}`, STEP_BYTES, () =>
      peer.step({ kind: 'default', threads, clip: true }),
    );
  }
}
for (let round = 0; round < WARMUP_ROUNDS + ROUNDS; round++) {
  for (const { run, times } of contenders) {
    await sleep(10); // each starts rested, as the other process does after waiting for its turn
    const ms = await run();
    if (round >= WARMUP_ROUNDS) times.push(ms);
  }
}
peer?.close();

const median = (times: number[]): number => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;
const own = median(contenders[1]!.times);
console.log(`AdamW, ${COUNT / 1e6}M float32 parameters${peer ? `, torch ${peer.version}` : ''}, median of ${ROUNDS}`);
console.log(`${''.padEnd(34)}  median    best    GB/s  × clip-gen step`);
for (const { name, times, bytes } of contenders) {
  const ms = median(times);
  const columns = [ms.toFixed(1), Math.min(...times).toFixed(1), (bytes / ms / 1e6).toFixed(1), (ms / own).toFixed(2)];
  console.log(name.padEnd(34) + columns.map((column) => column.padStart(8)).join(''));
}

interface Peer {
  readonly version: string;
  /** One step's milliseconds. */
  step(request: { kind: string; threads: number; clip: boolean }): Promise<number>;
  close(): void;
}

/** Starts optimizer.py; undefined, with advice, where there is no PyTorch. */
async function startTorch(): Promise<Peer | undefined> {
  const python = process.env['CLIP_GEN_PYTHON'] ?? 'python3';
  const script = fileURLToPath(new URL('optimizer.py', import.meta.url));
  // Idle OpenMP threads would spin through our turns.
  const env = { ...process.env, GOMP_SPINCOUNT: '0', OMP_WAIT_POLICY: 'PASSIVE', KMP_BLOCKTIME: '0' };
  const child = spawn(python, [script, String(COUNT)], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  child.on('error', () => undefined); // shows as an end of output below
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T | undefined> => {
    const line: IteratorResult<string, unknown> = await lines.next();
    return line.done ? undefined : (JSON.parse(line.value) as T);
  };
  const hello = await answer<{ torch: string }>();
  if (!hello) {
    console.log(`no PyTorch in ${python}: install it (pip install torch) or name another Python by CLIP_GEN_PYTHON`);
    return undefined;
  }
  return {
    version: hello.torch,
    async step(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const reply = await answer<{ ms: number }>();
      if (!reply) throw new Error('optimizer.py ended early');
      return reply.ms;
    },
    close: () => child.stdin.end(),
  };
}
