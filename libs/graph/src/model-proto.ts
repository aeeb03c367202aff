import { ClipGenError } from '@clip-gen/errors';
import {
  AttributeProto,
  AttributeProto_AttributeType,
  ModelProto,
  NodeProto,
  ONNX_ELEMENT_TYPE,
  TensorProto,
  TensorProto_DataLocation,
  ValueInfoProto,
} from '@clip-gen/onnx-proto';
import { bytesPerElement, type DType, type Tensor } from '@clip-gen/tensor';
import type { Attribute } from './attribute.ts';
import { blockConvolutions } from './blocked-convolution.ts';
import { showShape, staticSize, type Shape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import { CONTRIB_OPS, type OpType } from './op-type.ts';
import { multiplyQuantized, quantizedMatrix, type BlockFormat } from './quantized-matrices.ts';
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

const OPSET = 18;

/** The bytes of an ONNX ModelProto (IR version 10, opset 18 and `com.microsoft`). */
export function encodeModel(graph: GraphBuilder, options: ModelOptions = {}): Uint8Array {
  const { parameters = 'input', channelBlock } = options;
  if (graph.outputs.length === 0) {
    throw new ClipGenError('invalid_argument', `graph ${graph.name} must have an output; got none`);
  }
  const reached = reachable(graph);
  const locations = new Map<string, ExternalLocation | QuantizedLocation>();
  const quantized = new Map<string, QuantizedLocation>();
  for (const { name } of graph.parameters) {
    if (parameters === 'input' || !reached.values.has(name)) continue;
    const location = parameters(name);
    locations.set(name, location);
    if ('packed' in location) quantized.set(name, location);
  }
  const plain = multiplyQuantized(reached.nodes, quantized);
  const blocked = channelBlock ? blockConvolutions(graph, plain, channelBlock) : null;
  const operators = blocked?.nodes ?? plain;
  if (blocked)
    for (const { inputs } of operators) for (const input of inputs) if (input) reached.values.add(input.name);
  const inputs = graph.inputs.map((value) => valueInfo(value.name, value));
  const initializers = [...graph.constants.values(), ...(blocked?.constants ?? [])]
    .filter(({ value }) => reached.values.has(value.name))
    .map(({ value, data }) => constantProto(value.name, data));
  for (const { name, value } of graph.parameters) {
    if (!reached.values.has(name)) continue;
    const location = locations.get(name);
    if (!location) inputs.push(valueInfo(name, value));
    else if ('packed' in location) {
      const { packed, scales } = quantizedMatrix(value, location);
      initializers.push(externalProto(packed, location.packed), externalProto(scales, location.scales));
    } else initializers.push(externalProto(value, location));
  }
  const widenings = initializers.filter((initializer) => initializer.name.endsWith(STORED)).map(wideningProto);
  const renamed = outputNames(graph);
  const nodes = [...widenings, ...operators.map((node) => nodeProto(node, renamed))];
  const outputs = graph.outputs.map(({ name, value }) => {
    if (renamed.get(value.name) !== name) {
      const input = [renamed.get(value.name) ?? value.name];
      nodes.push(NodeProto.fromPartial({ opType: 'Identity', input, output: [name], name: `output.${name}` }));
    }
    return valueInfo(name, value);
  });
  const model = ModelProto.fromPartial({
    irVersion: 10n,
    producerName: 'clip-gen',
    opsetImport: [
      { domain: '', version: BigInt(OPSET) },
      { domain: 'com.microsoft', version: 1n },
      { domain: 'com.microsoft.nchwc', version: 1n },
    ],
    graph: { name: graph.name, node: nodes, input: inputs, output: outputs, initializer: initializers },
  });
  return ModelProto.encode(model).finish();
}

/** Nodes and value names that the outputs need, nodes in order with composites lowered. */
function reachable(graph: GraphBuilder): { nodes: Node[]; values: Set<string> } {
  const values = new Set(graph.outputs.map((output) => output.value.name));
  const nodes: Node[] = [];
  const visit = (scope: readonly Node[]): void => {
    for (let i = scope.length - 1; i >= 0; i--) {
      const node = scope[i]!;
      if (node.lowered) {
        visit(node.lowered);
      } else if (node.outputs.some((output) => values.has(output.name))) {
        nodes.push(node);
        for (const input of node.inputs) if (input) values.add(input.name);
      }
    }
  };
  visit(graph.nodes);
  return { nodes: nodes.reverse(), values };
}

/** Parameters that the outputs depend on, by name, in order of creation: the inputs that a training model has. */
export function usedParameters(graph: GraphBuilder): string[] {
  const { values } = reachable(graph);
  return graph.parameters.filter(({ name }) => values.has(name)).map(({ name }) => name);
}

function domainOf(op: OpType): { domain: string; opType: string } {
  if (op === 'NchwcConv') return { domain: 'com.microsoft.nchwc', opType: 'Conv' };
  if (op === 'ReorderInput' || op === 'ReorderOutput') return { domain: 'com.microsoft.nchwc', opType: op };
  return (CONTRIB_OPS as readonly string[]).includes(op)
    ? { domain: 'com.microsoft', opType: op }
    : { domain: '', opType: op };
}

/** A computed value takes the name of the (first) output that it is, which saves a copy by an Identity node. */
function outputNames(graph: GraphBuilder): Map<string, string> {
  const names = new Map<string, string>();
  for (const { name, value } of graph.outputs) {
    if (value.producer && !names.has(value.name)) names.set(value.name, name);
  }
  return names;
}

function nodeProto(node: Node, renamed: ReadonlyMap<string, string>): NodeProto {
  const shown = (value: Value): string => renamed.get(value.name) ?? value.name;
  return NodeProto.fromPartial({
    ...domainOf(node.op),
    name: node.outputs[0]?.name ?? node.op,
    input: node.inputs.map((input) => (input ? shown(input) : '')),
    output: node.outputs.map(shown),
    attribute: Object.entries(node.attributes).map(([name, attribute]) => attributeProto(name, attribute)),
  });
}

function attributeProto(name: string, attribute: Attribute): AttributeProto {
  switch (attribute.type) {
    case 'int':
      return AttributeProto.fromPartial({ name, type: AttributeProto_AttributeType.INT, i: BigInt(attribute.value) });
    case 'ints':
      return AttributeProto.fromPartial({
        name,
        type: AttributeProto_AttributeType.INTS,
        ints: attribute.value.map((v) => BigInt(v)),
      });
    case 'float':
      return AttributeProto.fromPartial({ name, type: AttributeProto_AttributeType.FLOAT, f: attribute.value });
    case 'string':
      return AttributeProto.fromPartial({
        name,
        type: AttributeProto_AttributeType.STRING,
        s: new TextEncoder().encode(attribute.value),
      });
  }
}

function valueInfo(name: string, value: { dtype: DType; shape: Shape }): ValueInfoProto {
  const dim = value.shape.map((d) => (typeof d === 'number' ? { dimValue: BigInt(d) } : { dimParam: d }));
  return ValueInfoProto.fromPartial({
    name,
    type: { tensorType: { elemType: ONNX_ELEMENT_TYPE[value.dtype], shape: { dim } } },
  });
}

function constantProto(name: string, data: Tensor): TensorProto {
  return TensorProto.fromPartial({
    name,
    dataType: ONNX_ELEMENT_TYPE[data.dtype],
    dims: data.shape.map((size) => BigInt(size)),
    rawData: new Uint8Array(data.data.buffer, data.data.byteOffset, data.data.byteLength),
  });
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
