import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSession, type Session, type SessionOptions } from './index.ts';
import {
  addModel,
  bfloat16Model,
  chainModel,
  externalDataModel,
  gatherModel,
  identityModel,
  matmulModel,
  nonZeroModel,
  unknownOperatorModel,
} from './tiny-models.ts';

function f32(shape: readonly number[], ...values: number[]): Tensor<'float32'> {
  return tensor('float32', shape, Float32Array.from(values));
}

describe.each(['c-api', 'node'] as const)('session over %s', (backend) => {
  const open: Session[] = [];
  async function session(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const made = await createSession(model, { backend, threads: 1, ...options });
    open.push(made);
    return made;
  }
  afterEach(async () => {
    await Promise.all(open.splice(0).map((made) => made.close()));
  });

  describe('computes', () => {
    it('a sum of static shapes, as declared', async () => {
      const add = await session(addModel([2, 2]));
      expect(add.backend).toBe(backend);
      expect(add.inputs).toEqual([
        { name: 'a', dtype: 'float32', shape: [2, 2] },
        { name: 'b', dtype: 'float32', shape: [2, 2] },
      ]);
      expect(add.outputs).toEqual([{ name: 'c', dtype: 'float32', shape: [2, 2] }]);
      const { c } = await add.run({ a: f32([2, 2], 1, 2, 3, 4), b: f32([2, 2], 10, 20, 30, 40) });
      expect(c).toEqual(f32([2, 2], 11, 22, 33, 44));
    });

    it('a scalar', async () => {
      const add = await session(addModel([]));
      expect(await add.run({ a: f32([], 1), b: f32([], 2) })).toEqual({ c: f32([], 3) });
    });

    it('a product with a named dimension, at two sizes', async () => {
      const matmul = await session(matmulModel());
      expect(matmul.inputs[0]?.shape).toEqual(['N', 3]);
      const w = f32([3, 2], 1, 0, 0, 1, 1, 1);
      expect(await matmul.run({ x: f32([1, 3], 1, 2, 3), w })).toEqual({
        y: f32([1, 2], 4, 5),
        z: f32([1, 2], -4, -5),
      });
      const { y } = await matmul.run({ x: f32([2, 3], 1, 2, 3, 4, 5, 6), w });
      expect(y).toEqual(f32([2, 2], 4, 5, 10, 11));
    });

    it('tensors without elements', async () => {
      const matmul = await session(matmulModel());
      const { y } = await matmul.run({ x: f32([0, 3]), w: emptyTensor('float32', [3, 2]) });
      expect(y).toEqual(f32([0, 2]));
    });

    it('an output whose size only the run can tell', async () => {
      const nonZero = await session(nonZeroModel());
      const { where } = await nonZero.run({ x: f32([4], 0, 5, 0, 7) });
      expect(where).toEqual(tensor('int64', [1, 2], BigInt64Array.of(1n, 3n)));
      expect((await nonZero.run({ x: f32([2], 0, 0) })).where?.shape).toEqual([1, 0]);
    });

    it('every dtype, bit for bit', async () => {
      const identity = await session(identityModel());
      const b = tensor('bool', [2], Uint8Array.of(1, 0));
      const h = tensor('float16', [2], Uint16Array.of(0x3c00, 0xfbff));
      const d = tensor('float64', [2], Float64Array.of(Math.PI, -0));
      const i = tensor('int32', [2], Int32Array.of(-(2 ** 31), 7));
      const l = tensor('int64', [2], BigInt64Array.of(-(2n ** 63n), 7n));
      const expected = { b_out: b, h_out: h, d_out: d, i_out: i, l_out: l };
      expect(await identity.run({ b, h, d, i, l })).toEqual(expected);
    });

    it('only the outputs in fetch', async () => {
      const matmul = await session(matmulModel());
      const result = await matmul.run({ x: f32([1, 3], 1, 2, 3), w: f32([3, 2], 1, 0, 0, 1, 1, 1) }, { fetch: ['z'] });
      expect(result).toEqual({ z: f32([1, 2], -4, -5) });
    });
  });

  describe('writes into the buffers it is given', () => {
    it('as the same objects, again and again', async () => {
      const matmul = await session(matmulModel());
      const y = emptyTensor('float32', [1, 2]);
      const w = f32([3, 2], 1, 0, 0, 1, 1, 1);
      const x = f32([1, 3], 1, 2, 3);
      for (const scale of [1, 2, 3]) {
        x.data.set([scale, 2 * scale, 3 * scale]);
        const result = await matmul.run({ x, w }, { into: { y } });
        expect(result.y).toBe(y);
        expect(Array.from(y.data)).toEqual([4 * scale, 5 * scale]);
        expect(result.z).toEqual(f32([1, 2], -4 * scale, -5 * scale));
      }
    });

    it('changed buffers and shapes between runs', async () => {
      const add = await session(addModel(['N']));
      const a = f32([2], 1, 2);
      expect((await add.run({ a, b: a })).c).toEqual(f32([2], 2, 4));
      const longer = f32([3], 1, 2, 3);
      expect((await add.run({ a: longer, b: longer })).c).toEqual(f32([3], 2, 4, 6));
      expect((await add.run({ a, b: f32([2], 5, 5) })).c).toEqual(f32([2], 6, 7));
    });

    it('with threads that spin for a while', async () => {
      const add = await session(addModel([3]), { threads: 2, spin: 50 });
      expect((await add.run({ a: f32([3], 1, 2, 3), b: f32([3], 1, 1, 1) })).c).toEqual(f32([3], 2, 3, 4));
    });

    it('in memory that others use too', async () => {
      const first = await session(addModel([3]), { sharesMemory: true });
      const second = await session(addModel([3]), { sharesMemory: true });
      const feeds = { a: f32([3], 1, 2, 3), b: f32([3], 1, 1, 1) };
      const results = await Promise.all([first.run(feeds), second.run(feeds)]);
      await first.close();
      for (const { c } of [...results, await second.run(feeds)]) expect(c).toEqual(f32([3], 2, 3, 4));
    });

    it('an output over its own input', async () => {
      const add = await session(addModel([3]));
      const a = f32([3], 1, 2, 3);
      const b = f32([3], 1, 1, 1);
      for (let i = 0; i < 3; i++) await add.run({ a, b }, { into: { c: a } });
      expect(Array.from(a.data)).toEqual([4, 5, 6]);
    });

    it('views of a WebAssembly.Memory at any offset', async () => {
      const add = await session(addModel([20]));
      const memory = new WebAssembly.Memory({ initial: 1 });
      const view = (offset: number): Tensor<'float32'> =>
        tensor('float32', [20], new Float32Array(memory.buffer, offset, 20));
      const [a, b, c] = [view(4), view(1000), view(65536 - 80)];
      a.data.fill(1.5);
      b.data.fill(2);
      await add.run({ a, b }, { into: { c } });
      expect(Array.from(c.data)).toEqual(Array.from({ length: 20 }, () => 3.5));
      expect(new Float32Array(memory.buffer, 65536 - 84, 1)[0]).toBe(0);
    });
  });

  describe('refuses with invalid_argument', () => {
    const x = f32([1, 3], 1, 2, 3);
    const w = emptyTensor('float32', [3, 2]);
    const cases: [string, (matmul: Session) => Promise<unknown>, string][] = [
      ['a missing input', (s) => s.run({ x }), 'feeds must hold input "w" (float32[3, 2]); got none'],
      ['an unknown input', (s) => s.run({ x, w, v: x }), 'feeds names "v", which is no input; the inputs are x, w'],
      [
        'a wrong dtype',
        (s) => s.run({ x: emptyTensor('float64', [1, 3]), w }),
        'input "x" must be float32[N, 3]; got float64[1, 3]',
      ],
      ['a wrong size', (s) => s.run({ x: emptyTensor('float32', [1, 4]), w }), 'got float32[1, 4]'],
      ['a wrong rank', (s) => s.run({ x: emptyTensor('float32', [3]), w }), 'got float32[3]'],
      [
        'data that does not fill its shape',
        (s) => s.run({ x: { dtype: 'float32', shape: [1, 3], data: new Float32Array(2) }, w }),
        'input "x" must hold 3 elements for float32[1, 3]; got 2',
      ],
      [
        'a wrong output size',
        (s) => s.run({ x, w }, { into: { y: emptyTensor('float32', [2, 2]) } }),
        'output "y" must be float32[N, 2] with N = 1',
      ],
      ['an unknown output', (s) => s.run({ x, w }, { into: { q: x } }), 'into names "q", which is no output'],
      ['an unknown name in fetch', (s) => s.run({ x, w }, { fetch: ['q'] }), 'fetch names "q"'],
      ['an empty fetch', (s) => s.run({ x, w }, { fetch: [] }), 'at least one output'],
      [
        'into that is not fetched',
        (s) => s.run({ x, w }, { fetch: ['z'], into: { y: emptyTensor('float32', [1, 2]) } }),
        'not in fetch',
      ],
    ];
    it.each(cases)('%s', async (_, act, message) => {
      const matmul = await session(matmulModel());
      const error = await act(matmul).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: 'invalid_argument', message: expect.stringContaining(message) });
      // A refused run leaves the session sound.
      expect((await matmul.run({ x, w })).y).toEqual(f32([1, 2], 0, 0));
    });

    it('a buffer that was transferred after it was used', async () => {
      const add = await session(addModel([100]));
      const a = emptyTensor('float32', [100]);
      await add.run({ a, b: a });
      structuredClone(a.data, { transfer: [a.data.buffer as ArrayBuffer] });
      await expect(add.run({ a, b: a })).rejects.toMatchObject({ code: 'invalid_argument' });
    });

    it('options out of bounds', async () => {
      const model = addModel([1]);
      const invalid = { code: 'invalid_argument' };
      await expect(createSession(model, { backend, threads: 0 })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend, threads: 1.5 })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend, spin: 0.5 })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend, spin: -1 })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend, provider: 'abacus' as 'cpu' })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend, optimization: 'most' as 'all' })).rejects.toMatchObject(invalid);
      await expect(createSession(model, { backend: 'abacus' as 'node' })).rejects.toMatchObject(invalid);
    });
  });

  it('reports what fails while it runs as internal, on one line', async () => {
    const gather = await session(gatherModel());
    const input = f32([3], 1, 2, 3);
    const at = (index: bigint): Promise<Record<string, Tensor>> =>
      gather.run({ in: input, index: tensor('int64', [1], BigInt64Array.of(index)) });
    await expect(at(9n)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/^ONNX Runtime: [^\n]+$/),
    });
    expect((await at(2n)).out).toEqual(f32([1], 3));
  });

  describe('refuses models', () => {
    it.each([
      ['no bytes', new Uint8Array(0)],
      ['bytes that are no model', Uint8Array.from({ length: 100 }, (_, i) => 255 - i)],
      ['a model cut short', addModel([2, 2]).slice(0, -5)],
      ['an unknown operator', unknownOperatorModel()],
    ])('with data_corrupt: %s', async (_, bytes) => {
      await expect(createSession(bytes, { backend })).rejects.toMatchObject({ code: 'data_corrupt' });
    });

    it('of bfloat16 as unimplemented', async () => {
      await expect(createSession(bfloat16Model(), { backend })).rejects.toMatchObject({
        code: 'unimplemented',
        message: expect.stringMatching(/bfloat16|data type: 16/),
      });
    });
  });

  it('says that a provider is not there', async () => {
    await expect(createSession(addModel([1]), { backend, provider: 'cuda' })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('provider cuda'),
    });
  });

  describe('external data', () => {
    let folder = '';
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'clip-gen-'));
    });
    afterEach(() => rm(folder, { recursive: true }));

    it('is read from the folder, at its offset', async () => {
      const file = new Float32Array(64).map((_, i) => i);
      await writeFile(join(folder, 'weights.bin'), new Uint8Array(file.buffer));
      const external = await session(externalDataModel('weights.bin', 40, 3), { externalDataFolder: folder });
      expect((await external.run({ x: f32([3], 100, 200, 300) })).y).toEqual(f32([3], 110, 211, 312));
    });

    it('must be there and long enough', async () => {
      const options = { backend, externalDataFolder: folder };
      await expect(createSession(externalDataModel('none.bin', 0, 3), options)).rejects.toMatchObject({
        message: expect.stringContaining('none.bin'),
      });
      await writeFile(join(folder, 'short.bin'), new Uint8Array(8));
      await expect(createSession(externalDataModel('short.bin', 0, 3), options)).rejects.toThrow();
    });
  });

  describe('abort', () => {
    const size = 256;
    const x = emptyTensor('float32', [size, size]);

    it('before the run', async () => {
      const add = await session(addModel([1]));
      const signal = AbortSignal.abort(new RangeError('enough'));
      await expect(add.run({ a: f32([1], 1), b: f32([1], 1) }, { signal })).rejects.toMatchObject({
        code: 'cancelled',
        cause: { message: 'enough' },
      });
    });

    it('of runs under way and in line; the session goes on', async () => {
      const chain = await session(chainModel(200, size));
      const controller = new AbortController();
      const runs = Array.from({ length: 6 }, () => chain.run({ x, w: x }, { signal: controller.signal }));
      setTimeout(() => controller.abort(), 20);
      const codes = (await Promise.allSettled(runs)).map((run) =>
        run.status === 'rejected' ? (run.reason as { code: string }).code : run.status,
      );
      expect(codes).toEqual(Array.from({ length: 6 }, () => 'cancelled'));
      const { y } = await chain.run({ x, w: x });
      expect(y?.data.every((element) => element === 0)).toBe(true);
    });
  });

  it('runs several calls at once', async () => {
    const matmul = await session(matmulModel());
    const w = f32([3, 2], 1, 0, 0, 1, 1, 1);
    const runs = Array.from({ length: 20 }, (_, i) => matmul.run({ x: f32([1, 3], i, 2 * i, 3 * i), w }));
    const results = await Promise.all(runs);
    expect(results.map(({ y }) => y)).toEqual(runs.map((_, i) => f32([1, 2], 4 * i, 5 * i)));
  });

  it('lets the event loop go on', async () => {
    const size = 256;
    const chain = await session(chainModel(100, size));
    const x = emptyTensor('float32', [size, size]);
    let ticks = 0;
    let timer = setImmediate(function tick() {
      ticks++;
      timer = setImmediate(tick);
    });
    await chain.run({ x, w: x });
    clearImmediate(timer);
    expect(ticks).toBeGreaterThan(20);
  });

  describe('close', () => {
    it('waits for running calls, can be repeated and ends the session', async () => {
      const chain = await session(chainModel(20, 128));
      const x = emptyTensor('float32', [128, 128]);
      let ended = false;
      const run = chain.run({ x, w: x }).then((result) => {
        ended = true;
        return result;
      });
      await Promise.all([chain.close(), chain.close()]);
      expect(ended).toBe(true);
      expect((await run).y?.shape).toEqual([128, 128]);
      await expect(chain.run({ x, w: x })).rejects.toMatchObject({ code: 'failed_precondition' });
    });
  });
});

describe('backend auto', () => {
  it('is the C API where it loads', async () => {
    const add = await createSession(addModel([1]));
    expect(add.backend).toBe('c-api');
    await add.close();
  });
});
