/**
 * Import of a released-size checkpoint: seconds and peak memory of the whole process, beside PyTorch reading the same
 * file and writing it as safetensors, each in a process of its own.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/import.ts [--quick] [--json FILE]
 *
 * PyTorch makes the file: gpt2-medium with random weights, 1.3 GB (--quick: 4 of its 24 layers). It is read from the
 * system's cache, for it was just written; what is written is synced to the disk.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { importCheckpoint } from '@clip-gen/interchange';
import { benchOptions, machine, median, printTable, saveFigures } from './measure.ts';
import { PYTHON } from './torch-peer.ts';

const HERE = fileURLToPath(import.meta.url);
const PEER = fileURLToPath(new URL('import.py', import.meta.url));
const FULL_LAYERS = 24;
const QUICK_LAYERS = 4;

/** What a process that imported says of itself. */
interface Told {
  /** Of the import alone, without the start of the process. */
  readonly seconds: number;
  readonly peakBytes: number;
}

const options = benchOptions({ child: { type: 'string' }, out: { type: 'string' } });
if (options.child !== undefined) await importHere(options.child, options.out!);
else await measure();

async function importHere(file: string, out: string): Promise<void> {
  const start = performance.now();
  await importCheckpoint('gpt', file, out);
  const seconds = (performance.now() - start) / 1000;
  const told: Told = { seconds, peakBytes: process.resourceUsage().maxRSS * 1024 };
  console.log(JSON.stringify(told));
}

async function measure(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
  try {
    console.log(machine());
    const file = join(folder, 'gpt.pt');
    await run(PYTHON, [PEER, 'make', file, String(options.quick ? QUICK_LAYERS : FULL_LAYERS)]);
    const { size } = await stat(file);
    console.log(`checkpoint of ${(size / 1e9).toFixed(2)} GB`);
    const contenders = {
      'clip-gen import': (out: string) =>
        run(process.execPath, ['--import', 'tsx', HERE, '--child', file, '--out', out]),
      'torch.load, safetensors save_file': (out: string) => run(PYTHON, [PEER, 'convert', file, out]),
      'the same, memory-mapped': (out: string) => run(PYTHON, [PEER, 'convert-mapped', file, out]),
    };
    const rounds = options.quick ? 1 : 3;
    const rows: [string, number, number, number][] = [];
    for (const [name, contender] of Object.entries(contenders)) {
      const whole: number[] = [];
      const told: Told[] = [];
      for (let round = 0; round < rounds; round++) {
        const out = join(folder, 'out');
        const start = performance.now();
        told.push(JSON.parse(await contender(out)) as Told);
        whole.push((performance.now() - start) / 1000);
        await rm(out, { recursive: true });
      }
      const peak = Math.max(...told.map(({ peakBytes }) => peakBytes)) / 2 ** 20;
      rows.push([name, median(whole), median(told.map(({ seconds }) => seconds)), peak]);
    }
    printTable(['', 'process s', 'import s', 'peak MiB'], rows);
    await saveFigures(options.json, { bytes: size, rows });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What a program prints. */
function run(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve(text) : reject(new Error(`${program} ended with ${code}`))));
  });
}
