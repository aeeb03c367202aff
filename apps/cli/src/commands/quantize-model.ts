import { constants } from 'node:fs';
import { copyFile, mkdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { scanImageFolder } from '@clip-gen/datasets';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import {
  CACHE_FILE,
  hasPreview,
  measureCacheSteps,
  openGptPart,
  openModelParts,
  partFolder,
  SUPPORT_FILE,
  writeCacheSteps,
} from '@clip-gen/generation';
import { decodeStepGraph } from '@clip-gen/gpt';
import { linearWeights } from '@clip-gen/graph';
import { BLOCK_FORMATS, quantizeWeights, type QuantizedBits, type QuantizeReport } from '@clip-gen/quantization';
import { openSafetensors } from '@clip-gen/safetensors';
import { makeFolder } from '@clip-gen/whole-file';
import { draw } from '../evaluation/emoji-data.ts';
import type { Note } from '../evaluation/evaluate-model.ts';
import { compareTransformers, type Agreement } from './quantize-agreement.ts';
import { readExamples, type Example } from './quantize-examples.ts';
import { ActivationGrams } from './quantize-grams.ts';

/** Networks that can be quantised. */
export const QUANTIZED_PARTS = ['gpt'] as const;
export type QuantizedPart = (typeof QUANTIZED_PARTS)[number];

export interface QuantizationRequest {
  /** A model's folder, or a transformer's. */
  readonly model: string;
  readonly out: string;
  readonly bits: QuantizedBits;
  /** Folder of pictures to compare on; none: no comparison. */
  readonly data?: string;
  /** Folder of pictures to round for; none: weights are rounded for themselves. */
  readonly calibrate?: string;
  /** At most so many pictures of each. */
  readonly pictures: number;
  readonly threads?: number;
}

/** What `quantize` did. */
export interface QuantizedModel extends QuantizeReport {
  readonly out: string;
  readonly bits: QuantizedBits;
  readonly blockSize: number;
  readonly agreement?: Agreement;
}

/** Networks that stay as they are. */
const COPIED_PARTS = ['clip', 'vqgan', 'preview'];
/** Of each network that is copied; what else lies there (checkpoints, events) stays. */
const PART_FILES = ['config.json', 'model.safetensors', 'tokenizer.json'];
const MODEL_FILES = ['generation.json'];

/**
 * Writes a model whose transformer is quantised, its keys and values too when it draws. Everything that can be missing or
 * out of bounds is looked for first.
 *
 * @throws invalid_argument for an `out` that is the model itself, or pictures without the networks that read them;
 * failed_precondition for a model that is quantised already; what opening the model and the pictures throws; cancelled
 */
export async function quantizeModel(
  request: QuantizationRequest,
  note: Note,
  signal: AbortSignal,
): Promise<QuantizedModel> {
  const { model, out, bits, data, calibrate, threads } = request;
  const folder = await partFolder(model, 'gpt');
  const whole = folder !== model;
  for (const [flag, pictures] of [['--data', data] as const, ['--calibrate', calibrate] as const]) {
    if (pictures === undefined || whole) continue;
    throw invalidArgument(flag, 'left out unless --model has clip/ and vqgan/ too', pictures);
  }
  const parts = whole ? await openModelParts(model) : undefined;
  const gpt = parts?.gpt ?? (await openGptPart(folder));
  if (gpt.quantization) {
    const message = `${folder} is quantised already, in ${gpt.quantization.bits} bits; name the float32 model`;
    throw new ClipGenError('failed_precondition', message);
  }
  const compared = data === undefined ? [] : await listPictures(data, request.pictures);
  const rounded = calibrate === undefined ? [] : await listPictures(calibrate, request.pictures);
  await makeFolder(out);
  if ((await realpath(out)) === (await realpath(model)))
    throw invalidArgument('--out', 'another folder than --model', out);

  const target = whole ? join(out, 'gpt') : out;
  await refuseOther(out, target);

  const engine = { threads };
  const examplesOf = (paths: readonly string[]): Promise<Example[]> =>
    parts && paths.length > 0 ? readExamples(parts, paths, engine, note, signal) : Promise.resolve([]);
  const calibration = await examplesOf(rounded);
  const grams = calibration.length > 0 ? new ActivationGrams(gpt, calibration, engine, { signal }) : undefined;
  await mkdir(target, { recursive: true });
  for (const file of [CACHE_FILE, SUPPORT_FILE]) await rm(join(target, file), { force: true }); // of the one before
  const format = BLOCK_FORMATS[bits];
  const source = await openSafetensors(join(folder, 'model.safetensors'));
  let report: QuantizeReport;
  try {
    report = await quantizeWeights(source, join(target, 'model.safetensors'), {
      format,
      matrices: new Set(linearWeights(decodeStepGraph(gpt.config).graph)),
      signal,
      note: (done, total) => note('weights', Math.floor(done), total),
      ...(grams && { gramOf: (name) => grams.of(name) }),
    });
  } finally {
    await source.close();
  }
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
  await writeFile(join(target, 'config.json'), `${JSON.stringify({ ...config, quantization: format }, null, 2)}\n`);
  await copyWhereThere(folder, target, [SUPPORT_FILE]);
  if (whole) await copyRest(model, out);
  const quantized = await openGptPart(target);
  const progress = (done: number, total: number): void => note('keys and values', done, total);
  await writeCacheSteps(target, await measureCacheSteps(quantized, engine, { signal, note: progress }));
  const done = { out: resolve(out), bits, blockSize: format.blockSize, ...report };
  const examples = await examplesOf(compared);
  if (examples.length === 0) return done;
  return { ...done, agreement: await compareTransformers(gpt, quantized, examples, { engine, note, signal }) };
}

/**
 * A model with a quantised transformer may be made again; another one may be hours of training.
 *
 * @param target folder of the transformer, in `out` or `out` itself
 * @throws failed_precondition
 */
async function refuseOther(out: string, target: string): Promise<void> {
  const configOf = (folder: string) => readFile(join(folder, 'config.json'), 'utf8').catch(() => undefined);
  if ((await configOf(target))?.includes('"quantization"')) return;
  const folders = target === out ? [out] : [target, ...COPIED_PARTS.map((part) => join(out, part))];
  for (const folder of folders) {
    if ((await configOf(folder)) === undefined) continue;
    const problem = 'holds a model that is not quantised; name another folder, or remove it';
    throw new ClipGenError('failed_precondition', `--out: ${folder} ${problem}`);
  }
}

/** Paths of pictures, always the same ones. @throws not_found when there are none */
async function listPictures(folder: string, count: number): Promise<string[]> {
  const files = await scanImageFolder(folder);
  if (files.length === 0) throw new ClipGenError('not_found', `${folder} holds no pictures`);
  return draw(files, count, 0).map((file) => join(folder, file));
}

/** The other networks and how the model draws; a file system that can shares their bytes. */
async function copyRest(model: string, out: string): Promise<void> {
  await copyWhereThere(model, out, MODEL_FILES);
  const preview = await hasPreview(model);
  for (const part of COPIED_PARTS) {
    if (part === 'preview' && !preview) continue;
    await mkdir(join(out, part), { recursive: true });
    await copyWhereThere(join(model, part), join(out, part), PART_FILES);
  }
}

async function copyWhereThere(from: string, to: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    const there = await stat(join(from, file)).catch(() => undefined);
    if (there?.isFile()) await copyFile(join(from, file), join(to, file), constants.COPYFILE_FICLONE);
  }
}
