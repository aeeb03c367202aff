import { access, constants, mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { writeSafetensors } from '@clip-gen/safetensors';
import type { z } from 'zod';
import type { ModelFiles } from './stage.ts';

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
    const { code } = cause as NodeJS.ErrnoException;
    throw new ClipGenError('failed_precondition', `--out ${folder} must be a folder that can be written (${code})`, {
      cause,
    });
  }
}

/** Writes `config.json`, `model.safetensors` and further files of a model, each under a temporary name first. */
export async function writeModel(folder: string, model: ModelFiles): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, 'model.safetensors'), model.weights);
  const texts = new Map([['config.json', `${JSON.stringify(model.config, null, 2)}\n`], ...(model.files ?? [])]);
  for (const [name, text] of texts) await replaceFile(join(folder, name), text);
}

async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/**
 * The configuration of a trained model.
 *
 * @throws not_found when the folder holds no model, data_corrupt when it is not of this kind
 */
export async function readModelConfig<S extends z.ZodType>(folder: string, schema: S): Promise<z.output<S>> {
  const path = join(folder, 'config.json');
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ClipGenError('not_found', `no model in ${folder}: ${path} cannot be read; train it first`, { cause });
  });
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${path} is not the configuration of the model that is needed here`, {
      cause,
    });
  }
}
