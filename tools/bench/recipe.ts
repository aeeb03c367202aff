import { readFile } from 'node:fs/promises';
import type { z } from 'zod';

/** The model of one of the emoji recipes, as it stands in the file now: what the benches measure. */
export async function recipeModel<S extends z.ZodType>(
  stage: 'clip' | 'vqgan' | 'gpt',
  schema: S,
): Promise<z.output<S>> {
  const path = new URL(`../../models/emoji/recipes/${stage}.json`, import.meta.url);
  const { model } = JSON.parse(await readFile(path, 'utf8')) as { readonly model: unknown };
  return schema.parse(model);
}
