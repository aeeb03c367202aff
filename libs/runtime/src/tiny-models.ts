import {
  GraphProto,
  ModelProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  ValueInfoProto,
} from '@clip-gen/onnx-proto';

// Models of a few nodes that the tests of this library load.

type Size = number | string;

const { FLOAT, INT64, BOOL, FLOAT16, INT32, DOUBLE, BFLOAT16 } = TensorProto_DataType;

function value(name: string, shape: readonly Size[], elemType: TensorProto_DataType = FLOAT): ValueInfoProto {
  const dim = shape.map((size) => (typeof size === 'string' ? { dimParam: size } : { dimValue: BigInt(size) }));
  return ValueInfoProto.fromPartial({ name, type: { tensorType: { elemType, shape: { dim } } } });
}

function encode(graph: GraphProto): Uint8Array {
  const model = ModelProto.fromPartial({ irVersion: 10n, opsetImport: [{ domain: '', version: 21n }] });
  return ModelProto.encode({ ...model, graph }).finish();
}

/** c = a + b */
export function addModel(shape: readonly Size[]): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'add',
      input: [value('a', shape), value('b', shape)],
      output: [value('c', shape)],
      node: [{ opType: 'Add', input: ['a', 'b'], output: ['c'] }],
    }),
  );
}

/** y (N, 2) = x (N, 3) · w (3, 2); z (N, 2) = −y */
export function matmulModel(): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'matmul',
      input: [value('x', ['N', 3]), value('w', [3, 2])],
      output: [value('y', ['N', 2]), value('z', ['N', 2])],
      node: [
        { opType: 'MatMul', input: ['x', 'w'], output: ['y'] },
        { opType: 'Neg', input: ['y'], output: ['z'] },
      ],
    }),
  );
}

/** where = indices of the elements of x that are not 0: a size that only the run can tell. */
export function nonZeroModel(): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'non-zero',
      input: [value('x', ['N'])],
      output: [value('where', [1, 'count'], INT64)],
      node: [{ opType: 'NonZero', input: ['x'], output: ['where'] }],
    }),
  );
}

/** Each input comes out as it is. */
export function identityModel(): Uint8Array {
  const types = { b: BOOL, h: FLOAT16, d: DOUBLE, i: INT32, l: INT64 };
  return encode(
    GraphProto.fromPartial({
      name: 'identity',
      input: Object.entries(types).map(([name, type]) => value(name, [2], type)),
      output: Object.entries(types).map(([name, type]) => value(`${name}_out`, [2], type)),
      node: Object.keys(types).map((name) => ({ opType: 'Identity', input: [name], output: [`${name}_out`] })),
    }),
  );
}

/** y = x, in bfloat16. */
export function bfloat16Model(): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'bfloat16',
      input: [value('x', [2], BFLOAT16)],
      output: [value('y', [2], BFLOAT16)],
      node: [{ opType: 'Identity', input: ['x'], output: ['y'] }],
    }),
  );
}

/** y = x + w, w (length) being `length` float32 at byte `offset` of the file `location`. */
export function externalDataModel(location: string, offset: number, length: number): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'external',
      input: [value('x', [length])],
      output: [value('y', [length])],
      initializer: [
        {
          name: 'w',
          dims: [BigInt(length)],
          dataType: FLOAT,
          dataLocation: TensorProto_DataLocation.EXTERNAL,
          externalData: [
            { key: 'location', value: location },
            { key: 'offset', value: String(offset) },
            { key: 'length', value: String(length * 4) },
          ],
        },
      ],
      node: [{ opType: 'Add', input: ['x', 'w'], output: ['y'] }],
    }),
  );
}

/** y = tanh(… tanh(x · w) … · w), `depth` times, x and w (size, size): work that can be stopped between operators. */
export function chainModel(depth: number, size: number): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'chain',
      input: [value('x', [size, size]), value('w', [size, size])],
      output: [value('y', [size, size])],
      node: Array.from({ length: depth }, (_, i) => [
        { opType: 'MatMul', input: [i === 0 ? 'x' : `t${i}`, 'w'], output: [`m${i}`] },
        { opType: 'Tanh', input: [`m${i}`], output: [i === depth - 1 ? 'y' : `t${i + 1}`] },
      ]).flat(),
    }),
  );
}

/** out = in[index]: fails while it runs when index is out of range. */
export function gatherModel(): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'gather',
      input: [value('in', [3]), value('index', [1], INT64)],
      output: [value('out', [1])],
      node: [{ opType: 'Gather', input: ['in', 'index'], output: ['out'] }],
    }),
  );
}

/** Uses an operator that does not exist. */
export function unknownOperatorModel(): Uint8Array {
  return encode(
    GraphProto.fromPartial({
      name: 'unknown',
      input: [value('x', [1])],
      output: [value('y', [1])],
      node: [{ opType: 'NoSuchOperator', input: ['x'], output: ['y'] }],
    }),
  );
}
