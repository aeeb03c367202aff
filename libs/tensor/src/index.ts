export { bytesPerElement, type DType, type DataOf, type TensorData } from './dtype.ts';
export { elementCount, emptyTensor, tensor, type Tensor } from './tensor.ts';
