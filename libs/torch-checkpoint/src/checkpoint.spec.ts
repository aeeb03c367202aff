import { fileURLToPath } from 'node:url';
import type { Tensor } from '@clip-gen/tensor';
import { bfloat16ToFloat32, float16ToFloat32 } from '@clip-gen/safetensors';
import { expect, it } from 'vitest';
import { openTorchCheckpoint } from './checkpoint.ts';
import { PickleDict, PickleObject } from './pickle-value.ts';
import { stateDict } from './state-dict.ts';

const golden = (name: string): string => fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));

/** All tensors of a file's state dict; those that cannot be read by their error's code. */
async function readAll(path: string): Promise<Map<string, Tensor | string>> {
  const checkpoint = await openTorchCheckpoint(path);
  try {
    const read = new Map<string, Tensor | string>();
    for (const [name, reference] of stateDict(checkpoint.root, path).tensors) {
      const found = await checkpoint.read(reference).catch((error: { code: string }) => error.code);
      read.set(name, found);
    }
    return read;
  } finally {
    await checkpoint.close();
  }
}

const count = Array.from({ length: 24 }, (_, i) => i);
const range = (length: number, start = 0): number[] => Array.from({ length }, (_, i) => i + start);

it.each(['tensors.pt', 'legacy.pt'])('reads every view and element type of %s', async (file) => {
  const read = await readAll(golden(file));
  const numbers = (name: string): { dtype: string; shape: readonly number[]; values: number[] } => {
    const { dtype, shape, data } = read.get(name) as Tensor;
    const widen = dtype === 'float16' ? float16ToFloat32 : dtype === 'bfloat16' ? bfloat16ToFloat32 : Number;
    return { dtype, shape, values: Array.from(data as ArrayLike<number>, widen) };
  };
  expect(numbers('whole')).toEqual({ dtype: 'float32', shape: [2, 3, 4], values: count });
  const permuted = range(4).flatMap((i) => range(2).flatMap((j) => range(3).map((k) => 12 * j + 4 * k + i)));
  expect(numbers('permuted')).toEqual({ dtype: 'float32', shape: [4, 2, 3], values: permuted });
  expect(numbers('sliced')).toEqual({ dtype: 'float32', shape: [2, 2, 2], values: [4, 6, 8, 10, 16, 18, 20, 22] });
  const expanded = range(5).flatMap(() => range(4));
  expect(numbers('expanded')).toEqual({ dtype: 'float32', shape: [5, 4], values: expanded });
  expect(numbers('parameter')).toEqual({ dtype: 'float32', shape: [3, 4], values: range(12, 12) });
  expect(numbers('half')).toEqual({ dtype: 'float16', shape: [2, 3, 4], values: count });
  expect(numbers('brain')).toEqual({ dtype: 'bfloat16', shape: [2, 3, 4], values: count });
  expect(numbers('double')).toEqual({ dtype: 'float64', shape: [2, 3, 4], values: count });
  expect(numbers('long')).toEqual({ dtype: 'int64', shape: [5], values: range(5, -2) });
  expect(numbers('int')).toEqual({ dtype: 'int32', shape: [3], values: range(3, -1) });
  expect(numbers('byte')).toEqual({ dtype: 'uint8', shape: [3], values: range(3) });
  expect(numbers('char')).toEqual({ dtype: 'int8', shape: [3], values: range(3, -1) });
  expect(numbers('truth')).toEqual({ dtype: 'bool', shape: [3], values: [1, 0, 1] });
  expect(numbers('scalar')).toEqual({ dtype: 'float32', shape: [], values: [3.5] });
  expect(numbers('empty')).toEqual({ dtype: 'float32', shape: [0, 3], values: [] });
  expect(numbers('wide_parameter')).toEqual({ dtype: 'bfloat16', shape: [2], values: [1, 1] });
  expect(read.get('short')).toBe('unimplemented');
  expect(read.get('float8')).toBe('unimplemented');
  expect(read.size).toBe(18);
});

it('keeps the rest of what was saved as plain data', async () => {
  const checkpoint = await openTorchCheckpoint(golden('tensors.pt'));
  await checkpoint.close();
  expect(checkpoint.format).toBe('zip');
  const root = checkpoint.root as PickleDict;
  expect([...root.entries.keys()]).toEqual(['epoch', 'model', 'note']);
  expect(root.get('epoch')).toBe(3);
  expect(Buffer.from(root.get('note') as Uint8Array).toString()).toBe('bytes');
});

it('takes the state dict of a TorchScript archive without its code', async () => {
  const read = await readAll(golden('scripted.pt'));
  expect([...read.keys()].sort()).toEqual(
    ['count', 'layers.0.bias', 'layers.0.weight', 'layers.1.bias', 'layers.1.weight', 'scale'].sort(),
  );
  expect(Array.from((read.get('layers.0.weight') as Tensor).data, Number)).toEqual(range(6));
  expect(read.get('count')).toMatchObject({ dtype: 'int64', shape: [], data: BigInt64Array.of(7n) });
  expect(read.get('scale')).toMatchObject({ dtype: 'float16', shape: [2] });
});

it("passes over a trainer's own objects", async () => {
  const checkpoint = await openTorchCheckpoint(golden('lightning.ckpt'));
  await checkpoint.close();
  expect([...stateDict(checkpoint.root, 'lightning.ckpt').tensors.keys()]).toEqual(['w']);
  const settings = (checkpoint.root as PickleDict).get('hparams') as PickleObject;
  expect(settings).toBeInstanceOf(PickleObject);
  expect(settings.type.path).toBe('pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint');
  expect(settings.attributes.size).toBe(0);
});

it.each([
  [
    'attack.pt',
    'failed_precondition',
    /its pickle names posix\.system, which is not part of a state dict; nothing was run/,
  ],
  ['compressed.pt', 'unimplemented', /record "archive\/.*" is compressed \(method 8\); load it in PyTorch/],
  ['pickle.pt', 'data_corrupt', /it is a pickle, but none of torch\.save/],
  ['missing.pt', 'not_found', /does not exist/],
  ['../src', 'invalid_argument', /must be a file/],
  ['../package.json', 'data_corrupt', /is no PyTorch checkpoint/],
])('refuses %s', async (file, code, message) => {
  await expect(openTorchCheckpoint(golden(file))).rejects.toMatchObject({
    name: 'ClipGenError',
    code,
    message: expect.stringMatching(message),
  });
});

it('names the entries of a file without a state dict', () => {
  const root = new PickleDict();
  root.entries.set('weights', 1);
  expect(() => stateDict(root, 'a.pt')).toThrow('a.pt must hold a state dict; it has "weights"');
  expect(() => stateDict(root, 'a.pt', 'ema')).toThrow('a.pt must hold a state dict under "ema"; it has "weights"');
});
