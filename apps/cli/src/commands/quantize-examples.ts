import { ImageEncoder, PictureTokenizer, type EngineOptions, type ModelParts } from '@clip-gen/generation';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { readSquare } from '../evaluation/emoji-data.ts';
import type { Note } from '../evaluation/evaluate-model.ts';

/** A picture as the transformer meets it. */
export interface Example {
  /** CLIP's unit embedding, float32 (E). */
  readonly condition: Float32Array;
  /** Its T codes. */
  readonly tokens: Int32Array;
}

/** Tokens by the VQGAN and conditions by CLIP of pictures, by path. @throws what a picture throws; cancelled */
export async function readExamples(
  { clip, vqgan }: ModelParts,
  paths: readonly string[],
  engine: EngineOptions,
  note: Note,
  signal: AbortSignal,
): Promise<Example[]> {
  const examples: Example[] = [];
  const tokenizer = await PictureTokenizer.open(vqgan, engine);
  try {
    const encoder = await ImageEncoder.open(clip, engine);
    try {
      for (const path of paths) {
        const picture = await readSquare(path, vqgan.config.imageSize);
        const [condition] = await encoder.encode([picture], { signal });
        examples.push({ condition: condition!, tokens: await tokenizer.tokenize(picture, { signal }) });
        note('pictures', examples.length, paths.length);
      }
    } finally {
      await encoder.close();
    }
  } finally {
    await tokenizer.close();
  }
  return examples;
}

/** The inputs of a graph of `predictTokens` for one example. */
export function exampleFeeds({ condition, tokens }: Example): Record<string, Tensor> {
  return {
    condition: tensor('float32', [1, condition.length], condition),
    previous: tensor('int64', [1, tokens.length - 1], BigInt64Array.from(tokens.subarray(0, -1), BigInt)),
  };
}
