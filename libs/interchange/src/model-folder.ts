import { join } from 'node:path';
import { clipConfigSchema, type ClipConfig } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema, type GptConfig } from '@clip-gen/gpt';
import { openSafetensors, type SafetensorsFile } from '@clip-gen/safetensors';
import { vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { checkedConfig } from './foreign-model.ts';
import { readSettings } from './settings.ts';

/** A network's sizes, told apart by `model`. */
export type ModelConfig = ClipConfig | VqganConfig | GptConfig;

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
  const settings = await readSettings(join(folder, 'config.json'));
  if (settings.at('quantization') !== undefined) {
    const problem = 'the weights are quantised, and no other format holds such weights';
    throw new ClipGenError('failed_precondition', `${folder}: ${problem}; export the folder that it was made from`);
  }
  const config = readConfig(settings.at('model'), settings.path, settings.at());
  return { folder, config, weights: await openSafetensors(join(folder, 'model.safetensors')) };
}

function readConfig(kind: unknown, path: string, value: unknown): ModelConfig {
  if (kind === 'clip') return checkedConfig(clipConfigSchema, path, value);
  if (kind === 'vqgan') return checkedConfig(vqganConfigSchema, path, value);
  if (kind === 'gpt') return checkedConfig(gptConfigSchema, path, value);
  const got = JSON.stringify(kind) ?? 'nothing';
  throw new ClipGenError('failed_precondition', `${path}: model must be "clip", "vqgan" or "gpt"; got ${got}`);
}
