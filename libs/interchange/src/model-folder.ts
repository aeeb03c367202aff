import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { clipConfigSchema, type ClipConfig } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema, type GptConfig } from '@clip-gen/gpt';
import { openSafetensors, type SafetensorsFile } from '@clip-gen/safetensors';
import { previewConfigSchema, vqganConfigSchema, type PreviewConfig, type VqganConfig } from '@clip-gen/vqgan';
import { checkedConfig } from './foreign-model.ts';
import { readSettings } from './settings.ts';

/** A network's sizes, told apart by `model`. */
export type ModelConfig = ClipConfig | VqganConfig | GptConfig | PreviewConfig;

/** A network on disk: `config.json` beside `model.safetensors`. */
export interface ModelFolder {
  readonly folder: string;
  readonly config: ModelConfig;
  /** Open; whoever opened the folder closes it. */
  readonly weights: SafetensorsFile;
}

/**
 * @throws not_found; failed_precondition for another `config.json` or a quantised network; what `openSafetensors` throws
 */
export async function openModelFolder(folder: string): Promise<ModelFolder> {
  const settings = await readSettings(join(folder, 'config.json')).catch(async (error: unknown) => {
    if (!(error instanceof ClipGenError) || error.code !== 'not_found') throw error;
    const parts = await networksIn(folder);
    if (parts.length === 0) {
      const wanted = 'name a folder with config.json and model.safetensors, such as my-model/vqgan';
      throw new ClipGenError('not_found', `${error.message}; ${wanted}`, { cause: error });
    }
    const named = parts.map((part) => join(folder, part)).join(', ');
    throw new ClipGenError('not_found', `${folder} holds several networks; name one of them: ${named}`, {
      cause: error,
    });
  });
  if (settings.at('quantization') !== undefined) {
    const problem = 'the weights are quantised, and no other format holds such weights';
    throw new ClipGenError('failed_precondition', `${folder}: ${problem}; export the folder that it was made from`);
  }
  const config = readConfig(settings.at('model'), settings.path, settings.at());
  return { folder, config, weights: await openSafetensors(join(folder, 'model.safetensors')) };
}

/** Folders of networks, where a whole model was named. */
async function networksIn(folder: string): Promise<string[]> {
  const names = ['clip', 'vqgan', 'gpt', 'preview'];
  const found = await Promise.all(
    names.map((name) =>
      access(join(folder, name, 'config.json')).then(
        () => true,
        () => false,
      ),
    ),
  );
  return names.filter((_, i) => found[i]);
}

function readConfig(kind: unknown, path: string, value: unknown): ModelConfig {
  if (kind === 'clip') return checkedConfig(clipConfigSchema, path, value);
  if (kind === 'vqgan') return checkedConfig(vqganConfigSchema, path, value);
  if (kind === 'gpt') return checkedConfig(gptConfigSchema, path, value);
  if (kind === 'preview') return checkedConfig(previewConfigSchema, path, value);
  const got = JSON.stringify(kind) ?? 'nothing';
  const kinds = '"clip", "vqgan", "gpt" or "preview"';
  throw new ClipGenError('failed_precondition', `${path}: model must be ${kinds}; got ${got}`);
}
