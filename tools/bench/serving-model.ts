import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clipConfigSchema } from '@clip-gen/clip';
import { writeRandomModel } from '@clip-gen/generation';
import { gptConfigSchema } from '@clip-gen/gpt';
import { createClipTokenizer, cutVocabulary } from '@clip-gen/tokenizer';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { recipeModel } from './recipe.ts';

/** What the serving benches ask for. */
export const PROMPT = 'a slice of pizza';

const SHIPPED = fileURLToPath(new URL('../../models/emoji', import.meta.url));

/** A model on disk, and what to call it. */
export interface ServedModel {
  readonly path: string;
  readonly title: string;
}

/**
 * The model that a serving bench serves: the one that is named, else the one that comes along, else an untrained one of
 * the recipes' sizes, which is as fast and draws noise.
 *
 * @param folder where the untrained one is written
 */
export async function servedModel(named: string | undefined, folder: string): Promise<ServedModel> {
  if (named !== undefined) return { path: named, title: named };
  const complete = ['clip', 'vqgan', 'gpt'].every((part) => existsSync(join(SHIPPED, part, 'model.safetensors')));
  if (complete) return { path: SHIPPED, title: 'the shipped model' };
  const path = join(folder, 'model');
  const [clip, vqgan, gpt] = await Promise.all([
    recipeModel('clip', clipConfigSchema),
    recipeModel('vqgan', vqganConfigSchema),
    recipeModel('gpt', gptConfigSchema),
  ]);
  const { tokenizer } = cutVocabulary(createClipTokenizer(), [PROMPT], clip.text.vocabularySize);
  const text = { ...clip.text, vocabularySize: tokenizer.vocabularySize };
  await writeRandomModel(path, { clip: { ...clip, text }, vqgan, gpt }, { tokenizer });
  return { path, title: "an untrained model of the recipes' sizes" };
}
