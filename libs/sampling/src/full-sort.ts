import type { ValidSamplingOptions } from './sampling-options.ts';

/**
 * What `Sampler.sampleRow` means, written for reading and not for speed: sorts the whole row. The reference of the
 * tests and of the bench. Takes valid input only.
 */
export function sampleByFullSort(
  logits: Float32Array,
  { temperature, topK, topP }: ValidSamplingOptions,
  uniform: number,
): number {
  let tokens = Array.from(logits, (logit, index) => ({ logit, index, weight: 0 }));
  tokens.sort((a, b) => b.logit - a.logit || a.index - b.index);
  const max = tokens[0]!.logit;
  if (temperature === 0) return tokens[0]!.index;

  tokens = tokens.slice(0, topK);
  for (const token of tokens) token.weight = Math.exp((token.logit - max) / temperature);
  if (topP < 1) {
    const total = tokens.reduce((sum, { weight }) => sum + weight, 0);
    let kept = 0;
    for (let sum = 0; kept < tokens.length && sum < topP * total; kept++) sum += tokens[kept]!.weight;
    tokens = tokens.slice(0, kept);
  }
  tokens.sort((a, b) => a.index - b.index); // the draw goes through the row as it stands
  const target = uniform * tokens.reduce((sum, { weight }) => sum + weight, 0);
  let sum = 0;
  for (const { weight, index } of tokens) {
    sum += weight;
    if (target < sum) return index;
  }
  return tokens.findLast(({ weight }) => weight > 0)!.index;
}
