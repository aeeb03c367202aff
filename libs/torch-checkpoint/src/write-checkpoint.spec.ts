import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { openTorchCheckpoint } from './checkpoint.ts';
import { crc32, crc32ByTable } from './checksum.ts';
import { stateDict } from './state-dict.ts';
import { writeTorchCheckpoint, type TorchSource } from './write-checkpoint.ts';

const TENSORS: Readonly<Record<string, Tensor>> = {
  weight: tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
  half: tensor('float16', [2], Uint16Array.of(0x3c00, 0x4000)),
  brain: tensor('bfloat16', [1], Uint16Array.of(0x3f80)),
  mask: tensor('bool', [2, 1], Uint8Array.of(1, 0)),
  scalar: tensor('int64', [], BigInt64Array.of(-9n)),
  empty: tensor('float64', [0, 4], new Float64Array()),
  'é.name': tensor('int32', [1], Int32Array.of(-1)),
};

function source(name: string): TorchSource {
  const { dtype, shape } = TENSORS[name]!;
  return { name, dtype, shape, load: () => Promise.resolve(TENSORS[name]!) };
}

it.each([undefined, 'model'])('writes what it reads again, under entry %s', async (entry) => {
  const path = join(await temporaryFolder(), 'a.pt');
  await writeTorchCheckpoint(path, Object.keys(TENSORS).map(source), { entry });
  const checkpoint = await openTorchCheckpoint(path);
  const found = stateDict(checkpoint.root, path);
  expect(found.entry).toBe(entry ?? '');
  expect([...found.tensors.keys()]).toEqual(Object.keys(TENSORS));
  for (const [name, reference] of found.tensors) expect(await checkpoint.read(reference)).toEqual(TENSORS[name]);
  await checkpoint.close();
});

it('begins each storage at a multiple of 64 bytes', async () => {
  const path = join(await temporaryFolder(), 'a.pt');
  await writeTorchCheckpoint(path, [source('half'), source('weight')]);
  const bytes = await readFile(path);
  expect(bytes.indexOf(Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)) % 64).toBe(0);
});

it('refuses equal names and a tensor that its source does not describe, and leaves no file', async () => {
  const folder = await temporaryFolder();
  const path = join(folder, 'a.pt');
  await expect(writeTorchCheckpoint(path, [source('half'), source('half')])).rejects.toThrow('one "half"; got two');
  const wrong = { ...source('half'), shape: [3] };
  await expect(writeTorchCheckpoint(path, [wrong])).rejects.toThrow('"half" must load float16 [3]; got float16 [2]');
  expect(await readdir(folder)).toEqual([]);
});

it('computes the CRC-32 of zip archives, in parts too', () => {
  const check = Buffer.from('123456789');
  for (const checksum of [crc32, crc32ByTable]) {
    expect(checksum(check)).toBe(0xcbf43926);
    expect(checksum(check.subarray(4), checksum(check.subarray(0, 4)))).toBe(0xcbf43926);
    expect(checksum(new Uint8Array())).toBe(0);
  }
});
