import { ClipGenError } from '@clip-gen/errors';
import {
  AttributeProto,
  AttributeProto_AttributeType,
  NodeProto,
  ONNX_ELEMENT_TYPE,
  TensorProto,
  TensorProto_DataLocation,
} from '@clip-gen/onnx-proto';
import { bytesPerElement } from '@clip-gen/tensor';
import { blockConvolutions } from './blocked-convolution.ts';
import { showShape, staticSize } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import { constantProto, modelBytes, nodeProto, outputIdentity, outputNames, valueInfo } from './onnx-message.ts';
import { multiplyQuantized, quantizedMatrix, type BlockFormat } from './quantized-matrices.ts';
import { reachable } from './reachable.ts';
import type { Node, Value } from './value.ts';

/** Where a parameter's bytes lie: a file beside the model and a range in it, as ONNX's external data. */
export interface ExternalLocation {
  readonly file: string;
  readonly byteOffset: number;
  readonly byteLength: number;
  /** How the numbers are stored; half precision is widened to float32 when the model loads. Default float32. */
  readonly dtype?: 'float32' | 'float16';
}

/** Where the integers and the scales of a matrix in blocks lie. */
export interface QuantizedLocation extends BlockFormat {
  /** uint8 (N, blocks, bytes of a block) */
  readonly packed: ExternalLocation;
  /** (N, blocks) */
  readonly scales: ExternalLocation;
}

/** How a graph becomes a model file. */
export interface ModelOptions {
  /**
   * `input`: parameters are inputs of the model, for training. A function: where each parameter's bytes lie (float32,
   * row-major, or the matrix of a linear layer in blocks), for serving from a .safetensors file.
   */
  readonly parameters?: 'input' | ((name: string) => ExternalLocation | QuantizedLocation);
  /**
   * Channels of a block in the CPU's blocked convolution kernels (`nativeChannelBlock()` of the runtime): convolutions
   * use them although their weights are inputs, for training on this machine's CPU. Default: the standard Conv, for
   * every machine; with constant weights ONNX Runtime blocks them itself.
   */
  readonly channelBlock?: 8 | 16 | undefined;
}

/** The bytes of an ONNX ModelProto (IR version 10, opset 18 and `com.microsoft`). */
export function encodeModel(graph: GraphBuilder, options: ModelOptions = {}): Uint8Array {
  if (graph.outputs.length === 0) {
    throw new ClipGenError('invalid_argument', `graph ${graph.name} must have an output; got none`);
  }
  const { name, inputs, outputs } = graph;
  return encodeNodes(graph, { name, nodes: reachable(graph).nodes, inputs, outputs }, options);
}

/** Nodes of a graph that become a model. */
export interface NodesOfGraph extends Pick<GraphBuilder, 'name' | 'inputs' | 'outputs'> {
  /** In topological order, composites lowered. They read `inputs`, parameters, constants and one another. */
  readonly nodes: readonly Node[];
}

/** The bytes of a model of some of a graph's nodes; the parameters and constants that they read are the model's. */
export function encodeNodes(
  graph: GraphBuilder,
  { name: title, nodes: chosen, inputs: given, outputs: wanted }: NodesOfGraph,
  { parameters = 'input', channelBlock }: ModelOptions,
): Uint8Array {
  const read = new Set(wanted.map(({ value }) => value.name));
  const markRead = (nodes: readonly Node[]): void => {
    for (const { inputs } of nodes) for (const input of inputs) if (input) read.add(input.name);
  };
  markRead(chosen);
  const locations = new Map<string, ExternalLocation | QuantizedLocation>();
  const quantized = new Map<string, QuantizedLocation>();
  for (const { name } of graph.parameters) {
    if (parameters === 'input' || !read.has(name)) continue;
    const location = parameters(name);
    locations.set(name, location);
    if ('packed' in location) quantized.set(name, location);
  }
  const plain = multiplyQuantized(chosen, quantized);
  const blocked = channelBlock ? blockConvolutions(graph, plain, channelBlock) : null;
  const operators = blocked?.nodes ?? plain;
  if (blocked) markRead(operators);
  const inputs = given.map((value) => valueInfo(value.name, value));
  const initializers = [...graph.constants.values(), ...(blocked?.constants ?? [])]
    .filter(({ value }) => read.has(value.name))
    .map(({ value, data }) => constantProto(value.name, data));
  for (const { name, value } of graph.parameters) {
    if (!read.has(name)) continue;
    const location = locations.get(name);
    if (!location) inputs.push(valueInfo(name, value));
    else if ('packed' in location) {
      const { packed, scales } = quantizedMatrix(value, location);
      initializers.push(externalProto(packed, location.packed), externalProto(scales, location.scales));
    } else initializers.push(externalProto(value, location));
  }
  const widenings = initializers.filter((initializer) => initializer.name.endsWith(STORED)).map(wideningProto);
  const renamed = outputNames({ outputs: wanted });
  const nodes = [...widenings, ...operators.map((node) => nodeProto(node, renamed))];
  const outputs = wanted.map(({ name, value }) => {
    if (renamed.get(value.name) !== name) {
      nodes.push(outputIdentity(renamed.get(value.name) ?? value.name, name));
    }
    return valueInfo(name, value);
  });
  return modelBytes({ name: title, node: nodes, input: inputs, output: outputs, initializer: initializers });
}

/** Suffix of the stored form of a half-precision parameter. */
const STORED = '.stored';

function externalProto(value: Value, location: ExternalLocation): TensorProto {
  const dtype = value.dtype === 'float32' ? (location.dtype ?? 'float32') : value.dtype;
  const bytes = bytesPerElement(dtype) * staticSize(value.shape, value.name);
  if (location.byteLength !== bytes) {
    throw new ClipGenError(
      'invalid_argument',
      `parameter ${value.name} ${showShape(value.shape)} takes ${bytes} bytes; ${location.file} has ${location.byteLength}`,
    );
  }
  return TensorProto.fromPartial({
    name: dtype === value.dtype ? value.name : value.name + STORED,
    dataType: ONNX_ELEMENT_TYPE[dtype],
    dims: value.shape.map((size) => BigInt(size)),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: location.file },
      { key: 'offset', value: String(location.byteOffset) },
      { key: 'length', value: String(location.byteLength) },
    ],
  });
}

/** The cast that ONNX Runtime folds into a float32 constant at load. */
function wideningProto(stored: TensorProto): NodeProto {
  const name = stored.name.slice(0, -STORED.length);
  const to = AttributeProto.fromPartial({
    name: 'to',
    type: AttributeProto_AttributeType.INT,
    i: BigInt(ONNX_ELEMENT_TYPE.float32),
  });
  return NodeProto.fromPartial({
    opType: 'Cast',
    name: `widen.${name}`,
    input: [stored.name],
    output: [name],
    attribute: [to],
  });
}
