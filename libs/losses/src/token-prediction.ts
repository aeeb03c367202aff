import {
  argMax,
  crossEntropy,
  matMul,
  gather,
  reduceMean,
  reshape,
  softmax,
  stopGradient,
  straightThrough,
  type Value,
} from '@clip-gen/graph';

/** Mean cross-entropy of tokens int64 (B, T) under logits (B, T, K), a scalar in nats. */
export function tokenCrossEntropy(logits: Value, tokens: Value): Value {
  const [batch, length, size] = logits.shape as [number, number, number];
  const rows = reshape(logits, [batch * length, size]);
  return reduceMean(crossEntropy(rows, reshape(tokens, [batch * length])));
}

/**
 * Codes of the most likely tokens, with the gradient of the expected code: value codebook[argmax], gradient that of
 * softmax(logits)·codebook (CLIP-GEN, arXiv 2203.00386, section 3.3).
 *
 * @param logits (N, K)
 * @param codebook (K, C), through which no gradient flows
 * @returns (N, C)
 */
export function straightThroughCodes(logits: Value, codebook: Value): Value {
  const table = stopGradient(codebook);
  const expected = matMul(softmax(logits, -1), table);
  return straightThrough(expected, gather(table, argMax(logits, -1)));
}
