/**
 * From nothing to a picture: the whole process `clip-gen generate` to its PNG, beside `import torch` alone for scale, in
 * turns; and where the time goes. The first run of all is not counted: it reads the files from disk.
 *
 *     CLIP_GEN_PYTHON=/path/to/python3 node --import tsx tools/bench/cold-start.ts [--model FOLDER] [--quick] [--json FILE]
 *
 * Without --model it is the model that comes along, or, where there is none, an untrained one of its size.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeRandomModel } from '@clip-gen/generation';
import { createClipTokenizer, cutVocabulary } from '@clip-gen/tokenizer';
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
import { PYTHON } from './torch-peer.ts';

const PROMPT = 'a slice of pizza';
const GOAL_MS = 3000;
const CLI = fileURLToPath(new URL('../../apps/cli/bin/clip-gen.js', import.meta.url));
const PHASES = fileURLToPath(new URL('cold-start-phases.ts', import.meta.url));
const SHIPPED = fileURLToPath(new URL('../../models/emoji', import.meta.url));

const options = benchOptions({ model: { type: 'string' } });
const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
try {
  const shipped = ['clip', 'vqgan', 'gpt'].every((part) => existsSync(join(SHIPPED, part, 'model.safetensors')));
  const model = options.model ?? (shipped ? SHIPPED : join(folder, 'model'));
  if (!options.model && !shipped) await writeModelOfThatSize(model);
  const picture = join(folder, 'picture.png');

  const whole = contender('clip-gen generate, whole process', async () => {
    const flags = ['generate', PROMPT, '--seed', '1', '--out', picture, '--model', model];
    const { ms } = await runProcess(process.execPath, [CLI, ...flags]);
    if ((await stat(picture)).size === 0) throw new Error('the picture is empty');
    await rm(picture);
    return ms;
  });
  const empty = contender('node -e 0', async () => (await runProcess(process.execPath, ['-e', '0'])).ms);
  const contenders = [whole, empty];
  if ((await runProcess(PYTHON, ['-c', 'import torch']).catch(() => undefined)) !== undefined) {
    contenders.push(
      contender('python -c "import torch"', async () => (await runProcess(PYTHON, ['-c', 'import torch'])).ms),
    );
  } else console.log(`no peer: ${PYTHON} has no PyTorch; name another Python by CLIP_GEN_PYTHON`);
  const phases = new Map<string, Contender>();
  contenders.push(
    contender('the same in phases', async () => {
      const { ms, output } = await runProcess(process.execPath, ['--import', 'tsx', PHASES, model, PROMPT, picture]);
      for (const [name, took] of Object.entries(JSON.parse(output) as Record<string, number>)) {
        if (!phases.has(name))
          phases.set(
            name,
            contender(name, () => Promise.resolve(0)),
          );
        phases.get(name)!.times.push(took);
      }
      return ms;
    }),
  );
  await interleave(contenders, { warmup: 1, rounds: options.quick ? 1 : 5, budgetMs: 60_000 });
  for (const { times } of phases.values()) if (times.length > 1) times.shift(); // the warm-up

  const which = options.model ?? (shipped ? 'the shipped model' : 'an untrained model of its size');
  console.log(`cold start to a PNG, best of 16 candidates, ${which}; ${machine()}`);
  const all = [...contenders, ...[...phases.values()].map((phase) => ({ ...phase, name: `  ${phase.name}` }))];
  printTable(
    ['', 'median ms', 'least ms', '÷ whole'],
    all.map(({ name, times }) => [name, median(times), least(times), median(times) / median(whole.times)]),
  );
  console.log(`goal: at most ${GOAL_MS} ms for the whole process`);
  const shown = all.map(({ name, times }) => ({ name: name.trim(), medianMs: median(times), leastMs: least(times) }));
  await saveFigures(options.json, { bench: 'cold-start', model: which, rows: shown });
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** Milliseconds from the start of a process to its end, and what it printed. @throws when it fails */
function runProcess(
  command: string,
  words: readonly string[],
): Promise<{ readonly ms: number; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [output, complaint] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)));
    child.stderr.on('data', (chunk: Buffer) => (complaint += String(chunk)));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve({ ms: performance.now() - start, output });
      else reject(new Error(`${command} ended with ${code}: ${complaint.trim().split('\n').at(-1)}`));
    });
  });
}

/** The sizes of the emoji model. */
async function writeModelOfThatSize(path: string): Promise<void> {
  const { tokenizer } = cutVocabulary(createClipTokenizer(), [PROMPT, 'a red apple', 'a blue car', 'a dog'], 8192);
  const clip = {
    model: 'clip' as const,
    embeddingSize: 256,
    vision: { imageSize: 64, patchSize: 16, width: 192, layers: 6, heads: 3 },
    text: { contextLength: 24, vocabularySize: tokenizer.vocabularySize, width: 192, layers: 3, heads: 3 },
  };
  const vqgan = {
    model: 'vqgan' as const,
    imageSize: 64,
    patchSize: 2,
    channels: 32,
    multipliers: [1, 2, 4],
    blocks: 1,
    attentionSides: [],
    groups: 8,
    codebookSize: 2048,
    codeSize: 32,
  };
  const gpt = {
    model: 'gpt' as const,
    tokens: 64,
    vocabularySize: 2048,
    conditionSize: 256,
    width: 192,
    layers: 6,
    heads: 3,
  };
  await writeRandomModel(path, { clip, vqgan, gpt }, { tokenizer });
}
