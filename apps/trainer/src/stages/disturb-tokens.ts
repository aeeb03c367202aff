import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import type { GptTraining } from '../config.ts';
import { STREAMS } from '../streams.ts';

/**
 * What the transformer sees of tokens int64 (B, T): all but the last, (B, T − 1), some replaced: half by random codes and
 * half by what another picture has at that place, which looks as right as the transformer's own slips do. Each row draws
 * its own share of replacements from [0, tokenNoise]. A function of (seed, global step, place in the whole batch). The fixed
 * share of taming-transformers (Esser et al., arXiv 2012.09841), whose replacements are all random, is 1 − `pkeep`.
 *
 * @param others tokens int32 (N, T) of all pictures
 * @param first place of the first row in the batch of all processes
 */
export function disturbedTokens(
  tokens: Tensor<'int64'>,
  others: Tensor<'int32'>,
  { tokenNoise, seed, codes }: Pick<GptTraining, 'tokenNoise' | 'seed'> & { readonly codes: number },
  globalStep: number,
  first = 0,
): Tensor<'int64'> {
  const [batch, length] = tokens.shape as [number, number];
  const pictures = others.shape[0]!;
  const previous = new BigInt64Array(batch * (length - 1));
  for (let b = 0; b < batch; b++) {
    previous.set(tokens.data.subarray(b * length, (b + 1) * length - 1), b * (length - 1));
  }
  if (tokenNoise > 0) {
    for (let b = 0; b < batch; b++) {
      // A row takes at most a word for its share and three for each token.
      const stream = new RandomStream(seed, STREAMS.tokens, globalStep, (first + b) * 3 * length);
      const share = tokenNoise * stream.uniform();
      const row = previous.subarray(b * (length - 1), (b + 1) * (length - 1));
      for (let t = 0; t < row.length; t++) {
        if (stream.uniform() >= share) continue;
        const random = stream.uniform() < 0.5;
        row[t] = BigInt(random ? stream.integer(codes) : others.data[stream.integer(pictures) * length + t]!);
      }
    }
  }
  return tensor('int64', [batch, length - 1], previous);
}
