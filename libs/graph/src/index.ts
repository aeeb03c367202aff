export {
  float,
  floatAttribute,
  int,
  intAttribute,
  ints,
  intsAttribute,
  string,
  type Attribute,
  type Attributes,
} from './attribute.ts';
export {
  broadcastShapes,
  normalizeAxis,
  sameShape,
  showShape,
  staticDim,
  staticShape,
  staticSize,
  type Dim,
  type Shape,
} from './dim.ts';
export { GraphBuilder, type OutputSpec, type Parameter } from './graph-builder.ts';
export { encodeModel, usedParameters, type ExternalLocation, type ModelOptions } from './model-proto.ts';
export { COMPOSITE_OPS, CONTRIB_OPS, ONNX_OPS, type OpType } from './op-type.ts';
export { type Node, type Value } from './value.ts';
export type { Operand } from './ops/check.ts';
export * from './ops/activation.ts';
export * from './ops/convolution.ts';
export * from './ops/elementwise.ts';
export * from './ops/indexing.ts';
export * from './ops/linalg.ts';
export * from './ops/normalization.ts';
export * from './ops/objective.ts';
export * from './ops/reduce.ts';
export * from './ops/shape.ts';
