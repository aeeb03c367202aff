import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGptPart, TokenSampler } from '@clip-gen/generation';

/** Bytes of memory of a process, of Linux's /proc/self/status. */
export interface Held {
  /** The most that was resident so far (VmHWM). */
  readonly peak: number;
  /** Its own (RssAnon). */
  readonly own: number;
  /** Pages of files, which the system drops when it needs room (RssFile). */
  readonly mapped: number;
}

/** A process that loads a transformer and draws a few tokens. */
export interface MemoryFigures {
  /** Of the weights on disk. */
  readonly fileBytes: number;
  readonly loaded: Held;
  readonly drawn: Held;
}

const POSITIONS = 4;

/** What a process of its own holds once the transformer of a folder is loaded, and once it has drawn a few positions. */
export async function memoryOf(folder: string, batch: number): Promise<MemoryFigures> {
  const script = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, ['--import', 'tsx', script, folder, String(batch)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += String(chunk)));
  await new Promise((resolve) => child.on('close', resolve));
  const { size } = await stat(join(folder, 'model.safetensors'));
  return { fileBytes: size, ...(JSON.parse(text) as { loaded: Held; drawn: Held }) };
}

function held(): Held {
  const text = readFileSync('/proc/self/status', 'utf8');
  const bytes = (key: string): number => 1024 * Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(text)?.[1]);
  return { peak: bytes('VmHWM'), own: bytes('RssAnon'), mapped: bytes('RssFile') };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder = '', batch = '1'] = process.argv.slice(2);
  const sampler = await TokenSampler.open(await openGptPart(folder));
  const loaded = held();
  const { conditionSize } = sampler.part.config;
  const condition = new Float32Array(conditionSize).fill(1 / Math.sqrt(conditionSize));
  const steps = sampler.sampleSteps([condition], { seed: 1, candidates: Number(batch), temperature: 1, topK: 500 });
  for (let i = 0; i < POSITIONS; i++) await steps.next();
  console.log(JSON.stringify({ loaded, drawn: held() }));
  await steps.return(undefined);
  await sampler.close();
}
