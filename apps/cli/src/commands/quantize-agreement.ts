import { createPartSession, type EngineOptions, type GptPart } from '@clip-gen/generation';
import { predictTokens } from '@clip-gen/gpt';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import type { Session } from '@clip-gen/runtime';
import type { Note } from '../evaluation/evaluate-model.ts';
import { exampleFeeds, type Example } from './quantize-examples.ts';

/** How near a quantised transformer is to its original, each predicting the tokens of pictures from those before. */
export interface Agreement {
  readonly pictures: number;
  readonly tokens: number;
  /** Nats a token. */
  readonly crossEntropy: { readonly original: number; readonly quantized: number };
  /** Mean Kullback-Leibler divergence of the quantised model's prediction from the original's, nats a token, ≥ 0. */
  readonly divergence: number;
  /** Share of tokens that both find the likeliest, in [0, 1]. */
  readonly sameLikeliest: number;
}

/** Compares two transformers of one size on examples, one or more. @throws cancelled */
export async function compareTransformers(
  original: GptPart,
  quantized: GptPart,
  examples: readonly Example[],
  { engine, note, signal }: { readonly engine: EngineOptions; readonly note: Note; readonly signal: AbortSignal },
): Promise<Agreement> {
  const sums = new AgreementSums(original.config.vocabularySize);
  const reference = await openPredictor(original, engine);
  try {
    const compared = await openPredictor(quantized, engine);
    try {
      for (const [i, example] of examples.entries()) {
        const feeds = exampleFeeds(example);
        const own = await reference.run(feeds, { signal });
        const other = await compared.run(feeds, { signal });
        sums.add(example.tokens, own['logits']!.data as Float32Array, other['logits']!.data as Float32Array);
        note('comparing', i + 1, examples.length);
      }
    } finally {
      await compared.close();
    }
  } finally {
    await reference.close();
  }
  return { pictures: examples.length, ...sums.means() };
}

/** Logits of all positions, given the earlier tokens. */
function openPredictor(part: GptPart, engine: EngineOptions): Promise<Session> {
  const { config } = part;
  const graph = new GraphBuilder('gpt-logits');
  const condition = graph.input('condition', 'float32', [1, config.conditionSize]);
  const previous = graph.input('previous', 'int64', [1, config.tokens - 1]);
  graph.output('logits', predictTokens(new Scope(graph), config, condition, previous));
  return createPartSession(part, graph, engine);
}

/** Sums over tokens of what is compared, row by row of the logits. */
export class AgreementSums {
  #tokens = 0;
  #original = 0;
  #quantized = 0;
  #divergence = 0;
  #same = 0;

  constructor(private readonly vocabularySize: number) {}

  /**
   * @param tokens what stands at each position
   * @param original logits (T, K), and so `quantized`
   */
  add(tokens: Int32Array, original: Float32Array, quantized: Float32Array): void {
    const size = this.vocabularySize;
    for (const [position, token] of tokens.entries()) {
      const p = original.subarray(position * size, (position + 1) * size);
      const q = quantized.subarray(position * size, (position + 1) * size);
      const [ofP, ofQ] = [summarize(p), summarize(q)];
      this.#original += ofP.logSum - p[token]!;
      this.#quantized += ofQ.logSum - q[token]!;
      let mean = 0; // of the difference of the logits, under the original
      for (let k = 0; k < size; k++) mean += Math.exp(p[k]! - ofP.logSum) * (p[k]! - q[k]!);
      this.#divergence += mean - ofP.logSum + ofQ.logSum;
      if (ofP.likeliest === ofQ.likeliest) this.#same++;
    }
    this.#tokens += tokens.length;
  }

  means(): Omit<Agreement, 'pictures'> {
    const count = this.#tokens;
    return {
      tokens: count,
      crossEntropy: { original: this.#original / count, quantized: this.#quantized / count },
      divergence: Math.max(0, this.#divergence / count),
      sameLikeliest: this.#same / count,
    };
  }
}

/** log Σ exp of a row, and its first largest place. */
function summarize(row: Float32Array): { readonly logSum: number; readonly likeliest: number } {
  let likeliest = 0;
  for (let k = 1; k < row.length; k++) if (row[k]! > row[likeliest]!) likeliest = k;
  const largest = row[likeliest]!;
  let sum = 0;
  for (const value of row) sum += Math.exp(value - largest);
  return { logSum: largest + Math.log(sum), likeliest };
}
