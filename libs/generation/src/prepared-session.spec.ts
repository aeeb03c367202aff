import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { add, GraphBuilder, matMul, mul, reshape, transpose } from '@clip-gen/graph';
import { openSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, runGraph, temporaryFolder } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { WEIGHTS_FILE, type ModelPart } from './model-part.ts';
import { createPreparedSession } from './prepared-session.ts';

const SHAPES = { turned: [3, 4], scaled: [4], plain: [2, 4] } as const;

/** Two weights in other forms, one of them in two, and one as it is. */
function example(): GraphBuilder {
  const graph = new GraphBuilder('g');
  const x = graph.input('x', 'float32', [2, 4]);
  const double = mul(graph.parameter('scaled', SHAPES.scaled), 2);
  const h = mul(add(x, reshape(mul(double, double), [1, 4])), double);
  const sum = add(h, graph.parameter('plain', SHAPES.plain));
  graph.output('y', matMul(sum, transpose(graph.parameter('turned', SHAPES.turned), [1, 0])));
  return graph;
}

const x = tensor(
  'float32',
  [2, 4],
  Float32Array.from({ length: 8 }, (_, i) => Math.sin(i)),
);

/** The weights, whole 1024ths from 1 on, which either type holds exactly. */
const values = Object.entries(SHAPES).map(([name, shape], k) => {
  const count = shape.reduce<number>((a, b) => a * b, 1);
  const data = Float32Array.from({ length: count }, (_, i) => 1 + (i + k) / 1024);
  return [name, tensor('float32', shape, data)] as const;
});

async function writePart(dtype: 'float32' | 'float16'): Promise<ModelPart<null>> {
  const folder = await temporaryFolder();
  const stored = values.map(([name, { shape, data }]): readonly [string, Tensor] => {
    if (dtype === 'float32') return [name, tensor(dtype, shape, data)];
    const bits = Uint16Array.from(data, (value) => 0x3c00 + (value - 1) * 1024);
    return [name, tensor(dtype, shape, bits)];
  });
  await writeSafetensors(join(folder, WEIGHTS_FILE), stored);
  const file = await openSafetensors(join(folder, WEIGHTS_FILE));
  await file.close();
  return { folder, config: null, entries: file.entries };
}

describe.each([
  ['float32', 'c-api'],
  ['float16', 'c-api'],
  ['float32', 'node'],
] as const)('a prepared session of weights in %s, %s', (dtype, backend) => {
  it('computes what the graph does, every time', async () => {
    const part = await writePart(dtype);
    const wanted = (await runGraph(example(), { ...Object.fromEntries(values), x }))['y']!;
    const session = await createPreparedSession(part, example(), { threads: 1, backend });
    try {
      expect(session.backend).toBe(backend);
      expect(session.inputs.map(({ name }) => name)).toEqual(['x']);
      for (let i = 0; i < 2; i++) {
        expectTensor('y', (await session.run({ x }))['y'], wanted, { relative: 1e-6, scale: 'max' });
      }
    } finally {
      await session.close();
    }
  });
});

it.skipIf(process.platform !== 'linux')('keeps no session when a weight cannot be brought into its form', async () => {
  const part = await writePart('float32');
  const mapped = async (): Promise<boolean> => (await readFile('/proc/self/maps', 'utf8')).includes(part.folder);
  const session = await createPreparedSession(part, example(), { threads: 1, backend: 'c-api' });
  expect(await mapped()).toBe(true);
  await session.close();
  expect(await mapped()).toBe(false);

  const turned = { ...part.entries.get('turned')!, byteOffset: 1 << 20 }; // behind the end
  const damaged = { ...part, entries: new Map([...part.entries, ['turned', turned] as const]) };
  await expect(createPreparedSession(damaged, example(), { threads: 1, backend: 'c-api' })).rejects.toThrow();
  expect(await mapped()).toBe(false);
});
