import {
  AttributeProto,
  AttributeProto_AttributeType,
  ModelProto,
  NodeProto,
  ONNX_ELEMENT_TYPE,
  TensorProto,
  ValueInfoProto,
  type GraphProto,
} from '@clip-gen/onnx-proto';
import type { DType, Tensor } from '@clip-gen/tensor';
import type { Attribute } from './attribute.ts';
import type { Shape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import { CONTRIB_OPS, type OpType } from './op-type.ts';
import type { Node, Value } from './value.ts';

const OPSET = 18;

/** The bytes of an ONNX ModelProto (IR version 10, opset 18 and `com.microsoft`). */
export function modelBytes(graph: Pick<GraphProto, 'name' | 'node' | 'input' | 'output' | 'initializer'>): Uint8Array {
  const model = ModelProto.fromPartial({
    irVersion: 10n,
    producerName: 'clip-gen',
    opsetImport: [
      { domain: '', version: BigInt(OPSET) },
      { domain: 'com.microsoft', version: 1n },
      { domain: 'com.microsoft.nchwc', version: 1n },
    ],
    graph,
  });
  return ModelProto.encode(model).finish();
}

/** Gives a value a further name, as an output of the graph. */
export function outputIdentity(input: string, name: string): NodeProto {
  return NodeProto.fromPartial({ opType: 'Identity', input: [input], output: [name], name: `output.${name}` });
}

function domainOf(op: OpType): { domain: string; opType: string } {
  if (op === 'NchwcConv') return { domain: 'com.microsoft.nchwc', opType: 'Conv' };
  if (op === 'ReorderInput' || op === 'ReorderOutput') return { domain: 'com.microsoft.nchwc', opType: op };
  return (CONTRIB_OPS as readonly string[]).includes(op)
    ? { domain: 'com.microsoft', opType: op }
    : { domain: '', opType: op };
}

/** A computed value takes the name of the (first) output that it is, which saves a copy by an Identity node. */
export function outputNames({ outputs }: Pick<GraphBuilder, 'outputs'>): Map<string, string> {
  const names = new Map<string, string>();
  for (const { name, value } of outputs) {
    if (value.producer && !names.has(value.name)) names.set(value.name, name);
  }
  return names;
}

/** A node; `renamed` has the names that outputs of the graph take. */
export function nodeProto(node: Node, renamed: ReadonlyMap<string, string>): NodeProto {
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

/** An input or output under `name`; a named dimension becomes a symbolic one. */
export function valueInfo(name: string, value: { dtype: DType; shape: Shape }): ValueInfoProto {
  const dim = value.shape.map((d) => (typeof d === 'number' ? { dimValue: BigInt(d) } : { dimParam: d }));
  return ValueInfoProto.fromPartial({
    name,
    type: { tensorType: { elemType: ONNX_ELEMENT_TYPE[value.dtype], shape: { dim } } },
  });
}

/** An initializer that lies inside the model. */
export function constantProto(name: string, data: Tensor): TensorProto {
  return TensorProto.fromPartial({
    name,
    dataType: ONNX_ELEMENT_TYPE[data.dtype],
    dims: data.shape.map((size) => BigInt(size)),
    rawData: new Uint8Array(data.data.buffer, data.data.byteOffset, data.data.byteLength),
  });
}
