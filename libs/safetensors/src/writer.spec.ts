import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor } from '@clip-gen/tensor';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeSafetensors, writeSafetensorsFrom, type TensorSource } from './writer.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-writer-'));
});
afterAll(() => rm(folder, { recursive: true }));

const whole = [
  ['small', tensor('uint8', [3], Uint8Array.of(1, 2, 3))],
  ['large', tensor('float32', [2], Float32Array.of(1, 2))],
] as const;

it('writes from sources, one after the other, the same bytes as from whole tensors', async () => {
  const loaded: string[] = [];
  let open = 0;
  const sources = whole.map(([name, { dtype, shape, data }]): TensorSource => {
    const load = async () => {
      expect(++open).toBe(1);
      await Promise.resolve();
      loaded.push(name);
      open--;
      return tensor(dtype, shape, data);
    };
    return { name, dtype, shape, load };
  });
  const [lazy, eager] = [join(folder, 'lazy.safetensors'), join(folder, 'eager.safetensors')];
  await writeSafetensorsFrom(lazy, sources, { format: 'pt' });
  await writeSafetensors(eager, whole, { format: 'pt' });
  expect(await readFile(lazy)).toEqual(await readFile(eager));
  expect(loaded).toEqual(['large', 'small']); // as they lie in the file
});

it('refuses a tensor that is not what its source says, and leaves no file', async () => {
  const source: TensorSource = { name: 'a', dtype: 'float32', shape: [3], load: () => whole[1][1] };
  await expect(writeSafetensorsFrom(join(folder, 'wrong.safetensors'), [source])).rejects.toThrow(
    'tensor "a" must hold 3 elements of float32; got 2 in a Float32Array',
  );
  expect((await readdir(folder)).filter((name) => name.includes('wrong'))).toEqual([]);
});
