/**
 * Two processes far from each other (100 ms each way, 100 Mbit/s) train the emoji recipe's transformer, in a smaller size,
 * with local steps, beside the same training that exchanges every step: held-out loss at the same pictures, bytes sent,
 * time at the exchange. The synchronous training runs to its end on one machine, where it learns the same to the last
 * bit, and for some seconds over the slow cable, for its pace and bytes there.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { benchOptions, saveFigures } from './measure.ts';
import { SlowCable } from './slow-cable.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLI = join(ROOT, 'apps/cli/bin/clip-gen.js');

const options = benchOptions({
  data: { type: 'string' },
  vqgan: { type: 'string', default: join(ROOT, 'models/emoji/vqgan') },
  clip: { type: 'string', default: join(ROOT, 'models/emoji/clip') },
  steps: { type: 'string', default: '50' },
  epochs: { type: 'string', default: '10' },
  pictures: { type: 'string' },
  bits: { type: 'string', default: '8' },
  'delay-ms': { type: 'string', default: '100' },
  megabits: { type: 'string', default: '100' },
  only: { type: 'string', default: 'local,synchronous,cable' },
});
if (options.data === undefined) {
  throw new Error('--data must be the training pictures of the emoji data set: see tools/emoji/README.md');
}

const { quick } = options;
const localSteps = quick ? '5' : options.steps;
const settings = {
  model: {
    model: 'gpt',
    tokens: 64,
    vocabularySize: 2048,
    conditionSize: 256,
    ...(quick ? { width: 64, layers: 1, heads: 2 } : { width: 128, layers: 3, heads: 4 }),
  },
  batchSize: 16,
  epochs: quick ? 2 : Number(options.epochs),
  learningRate: 0.001,
  warmupEpochs: 0.2,
  conditionNoise: 0.8,
  tokenNoise: 0.4,
  validationFraction: 0.1,
  validationBatches: 64,
  support: { rows: 0 },
  checkpointSeconds: 3600,
};

/** Nobody is late here, however busy the machine is. */
const PATIENT = ['--set', 'localSteps.lateSeconds=3600'];

const work = await mkdtemp(join(tmpdir(), 'low-communication-'));
const cable = await SlowCable.lay(Number(options['delay-ms']), Number(options.megabits));
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  cable.remove();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

/** What rank 0 printed. */
interface Run {
  readonly losses: readonly number[];
  readonly steps: number;
  readonly seconds: number;
  readonly megabytes: number;
  /** At the ends of rounds. */
  readonly exchangeSeconds: number | undefined;
  readonly picturesPerSecond: number;
}

let port = 29_700;

/** Trains in two processes. @param stopAfterMs of the first progress on; default: to the end */
async function train(name: string, isFar: boolean, flags: readonly string[], stopAfterMs?: number): Promise<Run> {
  const out = join(work, name);
  const caches = (await readdir(work)).map((other) => join(work, other, 'cache'));
  for (const cache of caches.slice(0, 1))
    await cp(cache, join(out, 'cache'), { recursive: true }).catch(() => undefined);
  const lines: string[] = [];
  const start = performance.now();
  port++;
  const ranks = [0, 1].map((rank) => {
    const words = [
      ...(isFar ? cable.at(rank as 0 | 1) : []),
      ...[process.execPath, CLI, 'train', 'gpt', '--data', pictures, '--out', out],
      ...['--vqgan', options.vqgan, '--clip', options.clip],
      ...Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`]),
      ...flags,
    ];
    const [program = '', ...rest] = words;
    const child = spawn(program, rest, {
      stdio: ['ignore', rank === 0 ? 'pipe' : 'ignore', 'inherit'],
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: '2',
        LOCAL_WORLD_SIZE: '2',
        MASTER_ADDR: isFar ? cable.addresses[0] : '127.0.0.1',
        MASTER_PORT: String(port),
        CLIP_GEN_TOKEN: 'low-communication',
      },
    });
    children.add(child);
    return child;
  });
  const output = createInterface({ input: ranks[0]!.stdout! });
  let stopping: Promise<void> | undefined;
  output.on('line', (line) => {
    lines.push(line);
    process.stdout.write(`  ${line}\n`);
    if (stopAfterMs !== undefined && line.includes('loss')) {
      stopping ??= sleep(stopAfterMs).then(() => void ranks[0]!.kill('SIGTERM'));
    }
  });
  const codes = await Promise.all(
    ranks.map((child) => new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))),
  );
  for (const child of ranks) children.delete(child);
  if (codes.some((code) => code !== (stopAfterMs === undefined ? 0 : 75)))
    throw new Error(`${name}: exit codes ${codes.join(', ')}`);
  const numbers = (pattern: RegExp): number[] =>
    lines.flatMap((line) => (pattern.exec(line) ?? []).slice(1).map(Number));
  return {
    losses: numbers(/cross_entropy ([\d.]+)/),
    steps: numbers(/(?:after|at step) (\d+)/)[0]!,
    seconds: (performance.now() - start) / 1000,
    megabytes: numbers(/sent ([\d.]+) MB/)[0]!,
    exchangeSeconds: numbers(/ends took ([\d.]+) s/)[0],
    picturesPerSecond: numbers(/loss.* ([\d.]+) images\/s/).at(-1) ?? NaN,
  };
}

/** All pictures, or some of them. */
async function choosePictures(folder: string): Promise<string> {
  const most = quick ? 400 : Number(options.pictures ?? Infinity);
  if (most === Infinity) return folder;
  const some = join(work, 'pictures');
  const files = (await readdir(folder, { recursive: true })).filter((file) => /\.(png|webp|jpe?g)$/.test(file)).sort();
  for (const file of files.slice(0, most)) await cp(join(folder, file), join(some, file), { recursive: true });
  return some;
}

const pictures = await choosePictures(options.data);
const only = options.only.split(',');
const far = `${options['delay-ms']} ms each way, ${options.megabits} Mbit/s`;
const results: Record<string, Run> = {};
const runs: readonly [string, () => Promise<Run>][] = [
  ['local', () => train('local', true, ['--local-steps', localSteps, '--delta-bits', options.bits, ...PATIENT])],
  ['synchronous', () => train('synchronous', false, [])],
  ['cable', () => train('cable', true, [], quick ? 5000 : 40_000)],
];
for (const [name, run] of runs) {
  if (!only.includes(name)) continue;
  process.stdout.write(`${name}${name === 'synchronous' ? ' (one machine)' : ` (${far})`}\n`);
  results[name] = await run();
}
cable.remove();
await rm(work, { recursive: true });

const { local, synchronous, cable: slow } = results;
const lines: string[] = [];
if (local) {
  const rounds = Math.ceil(local.steps / Number(localSteps));
  lines.push(
    `local steps (H = ${localSteps}, ${options.bits} bits): held-out loss ${local.losses.at(-1)} after ${local.steps} steps, ` +
      `${local.megabytes} MB sent by rank 0 in ${rounds} rounds, ${local.exchangeSeconds} s at their ends of ${local.seconds.toFixed(0)} s`,
  );
}
if (synchronous) {
  lines.push(`every step exchanged: held-out loss ${synchronous.losses.at(-1)} after ${synchronous.steps} steps`);
}
if (local && synchronous) {
  lines.push(`difference ${((local.losses.at(-1)! / synchronous.losses.at(-1)! - 1) * 100).toFixed(2)} %`);
}
if (slow) {
  // What is sent before the first step, the state of rank 0, is all that goes over sockets within a machine.
  const perStep = (slow.megabytes - (synchronous?.megabytes ?? 0)) / slow.steps;
  const seconds = (2 * settings.batchSize) / slow.picturesPerSecond;
  const all = local?.steps ?? slow.steps;
  lines.push(
    `every step exchanged over the cable: ${seconds.toFixed(2)} s and ${perStep.toFixed(2)} MB a step sent by rank 0: ` +
      `${(seconds * all).toFixed(0)} s and ${(perStep * all).toFixed(0)} MB for ${all} steps`,
  );
}
process.stdout.write(`${lines.join('\n')}\n`);
await saveFigures(options.json, { far, settings, localSteps, bits: options.bits, results });
