/**
 * Every operator that a graph may hold, under ONNX's names. Those of `com.microsoft` and the composites (written as one
 * node with its own gradient, lowered to several ONNX nodes) are listed apart.
 */
export const ONNX_OPS = [
  'Abs',
  'Add',
  'ArgMax',
  'ArgMin',
  'Cast',
  'Clip',
  'Concat',
  'Conv',
  'ConvTranspose',
  'Cos',
  'DepthToSpace',
  'Div',
  'Equal',
  'Erf',
  'Exp',
  'Expand',
  'Gather',
  'GatherElements',
  'Gemm',
  'Greater',
  'Identity',
  'LayerNormalization',
  'LeakyRelu',
  'Less',
  'Log',
  'LogSoftmax',
  'MatMul',
  'Max',
  'Min',
  'Mul',
  'Neg',
  'Pad',
  'Pow',
  'ReduceMean',
  'ReduceSum',
  'Relu',
  'Reshape',
  'Resize',
  'ScatterElements',
  'Shape',
  'Sigmoid',
  'Sign',
  'Slice',
  'Softmax',
  'Softplus',
  'SpaceToDepth',
  'Split',
  'Sqrt',
  'Sub',
  'Tanh',
  'Transpose',
  'Where',
] as const;

/** Contributed operators of ONNX Runtime, domain `com.microsoft` (`com.microsoft.nchwc` for the blocked convolution). */
export const CONTRIB_OPS = [
  'BiasGelu',
  'FusedMatMul',
  'GroupQueryAttention',
  'MatMulNBits',
  'NchwcConv',
  'ReorderInput',
  'ReorderOutput',
] as const;

/** One node for the gradient, several for the runtime. */
export const COMPOSITE_OPS = [
  'BatchNormalization',
  'CrossEntropy',
  'Gelu',
  'GroupNormalization',
  'QuickGelu',
  'StopGradient',
  'StraightThrough',
  'TurnedKernel',
  'Upsample',
] as const;

/** Every operator that a node of this graph can have. */
export type OpType = (typeof ONNX_OPS)[number] | (typeof CONTRIB_OPS)[number] | (typeof COMPOSITE_OPS)[number];
