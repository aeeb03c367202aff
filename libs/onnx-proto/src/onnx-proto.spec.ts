import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  AttributeProto_AttributeType,
  ModelProto,
  NodeProto,
  TensorProto,
  TensorProto_DataType,
  ValueInfoProto,
  Version,
} from './index.ts';

function value(name: string, dims: ({ dimValue: bigint } | { dimParam: string })[]): ValueInfoProto {
  return ValueInfoProto.fromPartial({
    name,
    type: { tensorType: { elemType: TensorProto_DataType.FLOAT, shape: { dim: dims } } },
  });
}

/** y = LeakyRelu(x + bias), alpha 0.5, as tools/goldens/onnx_model.py builds it. */
const model = ModelProto.fromPartial({
  irVersion: BigInt(Version.IR_VERSION_2023_5_5),
  producerName: 'clip-gen',
  opsetImport: [{ domain: '', version: 17n }],
  graph: {
    name: 'tiny',
    input: [value('x', [{ dimParam: 'B' }, { dimValue: 2n }])],
    output: [value('y', [{ dimParam: 'B' }, { dimValue: 2n }])],
    initializer: [
      {
        name: 'bias',
        dims: [2n],
        dataType: TensorProto_DataType.FLOAT,
        rawData: new Uint8Array(new Float32Array([1, -10]).buffer),
      },
    ],
    node: [
      { opType: 'Add', input: ['x', 'bias'], output: ['sum'], name: 'add' },
      {
        opType: 'LeakyRelu',
        input: ['sum'],
        output: ['y'],
        attribute: [{ name: 'alpha', type: AttributeProto_AttributeType.FLOAT, f: 0.5 }],
      },
      {
        opType: 'Constant',
        output: ['unused'],
        attribute: [
          { name: 'value_ints', type: AttributeProto_AttributeType.INTS, ints: [2n ** 62n + 1n, -(2n ** 63n), 0n] },
        ],
      },
    ],
  },
});

/** One field alone, so that no cut falls between two fields, where a shorter file is a whole message too. */
const oneField = ModelProto.fromPartial({ graph: { node: [{ opType: 'Relu', input: ['x'], output: ['y'] }] } });

describe('ONNX messages', () => {
  it('read the file that the onnx package wrote and checked', async () => {
    const golden = await readFile(join(import.meta.dirname, '../goldens/python.onnx'));
    expect(plain(ModelProto.decode(golden))).toEqual(plain(model));
  });

  it('survive encoding and decoding', () => {
    expect(ModelProto.decode(ModelProto.encode(model).finish())).toEqual(model);
  });

  it('have the wire form of the protobuf specification', () => {
    // field 1 "x": 0a 01 78; field 2 "y": 12 01 79; field 4 "Relu": 22 04 52 65 6c 75
    const bytes = NodeProto.encode(NodeProto.fromPartial({ input: ['x'], output: ['y'], opType: 'Relu' })).finish();
    expect(Buffer.from(bytes).toString('hex')).toBe('0a0178' + '120179' + '220452656c75');
  });

  it('keep 64-bit integers past 2^53 exact', () => {
    const written = TensorProto.fromPartial({ dims: [2n], int64Data: [2n ** 62n + 1n, -(2n ** 63n)] });
    expect(TensorProto.decode(TensorProto.encode(written).finish()).int64Data).toEqual([2n ** 62n + 1n, -(2n ** 63n)]);
  });

  it('tell a dimension of 0 from an unknown one', () => {
    const { type } = ValueInfoProto.decode(ValueInfoProto.encode(value('x', [{ dimValue: 0n }])).finish());
    expect(type?.tensorType?.shape?.dim[0]).toEqual({ dimValue: 0n, dimParam: undefined, denotation: '' });
  });

  it('refuse a file that ends inside a field', () => {
    const bytes = ModelProto.encode(oneField).finish();
    for (let cut = 1; cut < bytes.length; cut++) {
      expect(() => ModelProto.decode(bytes.subarray(0, bytes.length - cut)), `${cut} bytes short`).toThrow();
    }
  });
});

/** Byte fields are a Buffer when decoded from one; here only their bytes count. */
function plain(message: ModelProto): unknown {
  const initializer = message.graph?.initializer.map((tensor) => ({ ...tensor, rawData: [...tensor.rawData] }));
  return { ...message, graph: { ...message.graph, initializer } };
}
