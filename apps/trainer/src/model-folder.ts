import { access, constants, mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { writeSafetensors } from '@clip-gen/safetensors';
import { writeWhole } from '@clip-gen/whole-file';
import type { z } from 'zod';
import { describeIssues, readText } from './read-text.ts';
import type { ModelFiles } from './stage.ts';

/**
 * Whether the folder is there, or can be made, and can be written into; makes nothing.
 *
 * @throws failed_precondition when not
 */
export async function checkFolder(folder: string): Promise<void> {
  try {
    let at = resolve(folder);
    while (!(await isFolder(at))) at = dirname(at);
    await access(at, constants.W_OK);
  } catch (cause) {
    throw notWritable(folder, cause);
  }
}

/** @returns false when there is nothing at all. @throws what `stat` throws, and EEXIST for something else */
async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  throw Object.assign(new Error(`${path} is no folder`), { code: 'EEXIST' });
}

/**
 * Makes the folder where it is missing.
 *
 * @throws failed_precondition when nothing can be written into it
 */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (cause) {
    throw notWritable(folder, cause);
  }
}

function notWritable(folder: string, cause: unknown): ClipGenError {
  const { code } = cause as NodeJS.ErrnoException;
  return new ClipGenError('failed_precondition', `--out ${folder} must be a folder that can be written (${code})`, {
    cause,
  });
}

/** Writes `config.json`, `model.safetensors` and further files of a model, each under a temporary name first. */
export async function writeModel(folder: string, model: ModelFiles): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, 'model.safetensors'), model.weights);
  for (const [name, { tensors, metadata }] of model.tables ?? []) {
    await writeSafetensors(join(folder, name), tensors, metadata);
  }
  const texts = new Map([['config.json', `${JSON.stringify(model.config, null, 2)}\n`], ...(model.files ?? [])]);
  for (const [name, text] of texts) await writeWhole(join(folder, name), (file) => file.writeFile(text));
}

/**
 * The configuration of a trained model.
 *
 * @throws not_found when the folder holds no model, data_corrupt when it is not of this kind
 * @throws resource_exhausted, failed_precondition when its `config.json` is too large or cannot be read
 */
export async function readModelConfig<S extends z.ZodType>(folder: string, schema: S): Promise<z.output<S>> {
  const path = join(folder, 'config.json');
  const text = await readText(path).catch((cause: unknown) => {
    if (!(cause instanceof ClipGenError) || cause.code !== 'not_found') throw cause;
    throw new ClipGenError('not_found', `no model in ${folder}: ${cause.message}; train it first`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${path} must be JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { error: cause } = parsed;
  throw new ClipGenError(
    'data_corrupt',
    `${path} is not the configuration of the model that is needed here: ${describeIssues(cause)}`,
    { cause },
  );
}
