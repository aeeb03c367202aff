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

/** Unit rows (b, E) of pictures and of their captions. */
export interface PairedRows {
  readonly images: Value;
  readonly texts: Value;
}

/**
 * The share in {@link contrastive} of some rows of a batch, each against all columns: the mean over equal shares is the
 * loss of the whole.
 *
 * @param own b rows of either side, b static
 * @param all those of the whole batch, N rows a side
 * @param first place of the first of `own` in `all`
 * @returns the mean cross-entropy of both directions over `own`, a scalar in nats
 */
export function contrastiveShare(own: PairedRows, all: PairedRows, logScale: Value, first: number): Value {
  const { graph, shape } = own.images;
  const places = BigInt64Array.from({ length: shape[0] as number }, (_, i) => BigInt(first + i));
  const labels = graph.constant(tensor('int64', [places.length], places));
  const among = (rows: Value, columns: Value): Value =>
    reduceMean(crossEntropy(mul(fusedMatMul(rows, columns, { transB: true }), exp(logScale)), labels)); // (b, N)
  return mul(add(among(own.images, all.texts), among(own.texts, all.images)), 0.5);
}
