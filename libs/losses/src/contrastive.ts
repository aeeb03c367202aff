import { add, crossEntropy, exp, fusedMatMul, mul, reduceMean, transpose, type Value } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';

/**
 * CLIP's symmetric contrastive loss (Radford et al., arXiv 2103.00020, figure 3): row i of either side belongs to row i
 * of the other and to no other.
 *
 * @param images unit rows (B, E), B static
 * @param texts unit rows (B, E)
 * @param logScale log of the similarities' factor, a scalar
 * @returns the mean cross-entropy of both directions, a scalar in nats
 */
export function contrastive(images: Value, texts: Value, logScale: Value): Value {
  const batch = images.shape[0] as number;
  const logits = mul(fusedMatMul(images, texts, { transB: true }), exp(logScale)); // (B, B)
  const labels = images.graph.constant(
    tensor(
      'int64',
      [batch],
      BigInt64Array.from({ length: batch }, (_, i) => BigInt(i)),
    ),
  );
  const byImage = reduceMean(crossEntropy(logits, labels));
  const byText = reduceMean(crossEntropy(transpose(logits, [1, 0]), labels));
  return mul(add(byImage, byText), 0.5);
}
