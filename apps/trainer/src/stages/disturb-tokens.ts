import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import type { GptTraining } from '../config.ts';
import { STREAMS } from '../streams.ts';

/**
 * What the transformer sees of tokens int64 (B, T): all but the last, (B, T − 1), some replaced by random ones of K.
 * Each row draws its own share of replacements from [0, tokenNoise]. A function of (seed, global step). The fixed share
 * of taming-transformers (Esser et al., arXiv 2012.09841) is 1 − `pkeep`.
 */
export function disturbedTokens(
  tokens: Tensor<'int64'>,
  codes: number,
  { tokenNoise, seed }: Pick<GptTraining, 'tokenNoise' | 'seed'>,
  globalStep: number,
): Tensor<'int64'> {
  const [batch, length] = tokens.shape as [number, number];
  const previous = new BigInt64Array(batch * (length - 1));
  for (let b = 0; b < batch; b++) {
    previous.set(tokens.data.subarray(b * length, (b + 1) * length - 1), b * (length - 1));
  }
  if (tokenNoise > 0) {
    const stream = new RandomStream(seed, STREAMS.tokens, globalStep);
    for (let b = 0; b < batch; b++) {
      const share = tokenNoise * stream.uniform();
      const row = previous.subarray(b * (length - 1), (b + 1) * (length - 1));
      for (let t = 0; t < row.length; t++) if (stream.uniform() < share) row[t] = BigInt(stream.integer(codes));
    }
  }
  return tensor('int64', [batch, length - 1], previous);
}
