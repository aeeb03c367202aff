import { emptyTensor, type Tensor } from '@clip-gen/tensor';

/** A smaller last batch, filled up with zeros to the size that a graph was made for. */
export function padBatch(images: Tensor<'float32'>, batchSize: number): Tensor<'float32'> {
  if (images.shape[0] === batchSize) return images;
  const padded = emptyTensor('float32', [batchSize, ...images.shape.slice(1)]);
  padded.data.set(images.data);
  return padded;
}
