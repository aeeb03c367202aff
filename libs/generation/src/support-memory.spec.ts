import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RandomStream } from '@clip-gen/rng';
import { writeSafetensors } from '@clip-gen/safetensors';
import { tensor } from '@clip-gen/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SupportMemory, supportTable, type SupportOptions } from './support-memory.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'support-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const axes = Int8Array.of(127, 0, 0, 0, 127, 0, 0, 0, 127);

function unitRows(count: number, width: number): Float32Array {
  const stream = new RandomStream(1, 2);
  const rows = Float32Array.from({ length: count * width }, () => stream.normal());
  for (let i = 0; i < count; i++) {
    const row = rows.subarray(i * width, (i + 1) * width);
    const length = Math.hypot(...row);
    for (let k = 0; k < width; k++) row[k]! /= length;
  }
  return rows;
}

function writeSupport(path: string, rows: Float32Array, width: number, options: SupportOptions): Promise<void> {
  const { tensors, metadata } = supportTable(rows, width, options);
  return writeSafetensors(path, tensors, metadata);
}

describe('SupportMemory', () => {
  it('gives the nearest row alone at a small temperature', async () => {
    const memory = await SupportMemory.of(axes, 3, { temperature: 0.001, neighbours: 3 });
    const projected = await memory.project(Float32Array.of(0.6, 0.8, 0));
    expect(projected[0]).toBeCloseTo(0, 6);
    expect(projected[1]).toBeCloseTo(1, 6);
  });

  it('weighs by the softmax of the cosines', async () => {
    const temperature = 0.5;
    const memory = await SupportMemory.of(axes, 3, { temperature, neighbours: 3 });
    const weights = [0.6, 0.8, 0].map((cosine) => Math.exp(cosine / temperature));
    const length = Math.hypot(...weights);
    const projected = await memory.project(Float32Array.of(0.6, 0.8, 0));
    weights.forEach((weight, k) => expect(projected[k]).toBeCloseTo(weight / length, 6));
  });

  it('leaves out all but the nearest neighbours', async () => {
    const memory = await SupportMemory.of(axes, 3, { temperature: 10, neighbours: 2 });
    expect((await memory.project(Float32Array.of(0.6, 0.8, 0)))[2]).toBe(0);
  });

  it('falls back to the nearest where neighbours cancel out', async () => {
    const memory = await SupportMemory.of(Int8Array.of(5, 0, -5, 0), 2, { temperature: 1, neighbours: 2 });
    expect([...(await memory.project(Float32Array.of(0, 1)))]).toEqual([1, 0]);
  });

  it('keeps rows in 8 bits to a fiftieth of their length', async () => {
    const rows = unitRows(50, 32);
    const path = join(folder, 'kept.safetensors');
    await writeSupport(path, rows, 32, { temperature: 1e-4, neighbours: 1 });
    const memory = (await SupportMemory.open(path, 32))!;
    expect(memory.size).toBe(50);
    expect(memory.options).toEqual({ temperature: 1e-4, neighbours: 1 });
    for (let i = 0; i < 50; i++) {
      const row = rows.subarray(i * 32, (i + 1) * 32);
      const projected = await memory.project(row);
      expect(Math.hypot(...row.map((value, k) => value - projected[k]!))).toBeLessThan(0.02);
    }
  });

  it('knows of no memory where there is no file', async () => {
    expect(await SupportMemory.open(join(folder, 'none.safetensors'), 3)).toBeUndefined();
  });

  it.each([
    ['temperature', { temperature: 0, neighbours: 1 }, /temperature must be in \(0, 10\]; got 0/],
    ['neighbours', { temperature: 1, neighbours: 1.5 }, /neighbours must be an integer in \[1, 1024\]; got 1.5/],
  ])('refuses %s out of bounds', async (_, options, message) => {
    await expect(SupportMemory.of(axes, 3, options)).rejects.toThrow(message);
    expect(() => supportTable(unitRows(2, 3), 3, options)).toThrow(message);
  });

  it('refuses rows of zeros and broken rows', async () => {
    const options = { temperature: 1, neighbours: 1 };
    await expect(SupportMemory.of(new Int8Array(3), 3, options)).rejects.toThrow(/rows\[0\]/);
    await expect(SupportMemory.of(new Int8Array(4), 3, options)).rejects.toThrow(/whole vectors of 3; got 4/);
    expect(() => supportTable(new Float32Array(3), 3, options)).toThrow(/embeddings\[0\] must be of a length/);
    expect(() => supportTable(new Float32Array(4), 3, options)).toThrow(/whole vectors of 3; got 4/);
  });

  it('searches many rows in stripes, between which the event loop goes on and a signal is heard', async () => {
    const width = 512;
    const rows = new Int8Array(40_000 * width).fill(1); // five stripes
    const last = rows.subarray(rows.length - width).fill(0);
    last[7] = 1;
    const memory = await SupportMemory.of(rows, width, { temperature: 0.01, neighbours: 3 });
    const axis = Float32Array.from({ length: width }, (_, k) => Number(k === 7));
    let turns = 0;
    const count = setInterval(() => turns++, 0);
    const projected = await memory.project(axis);
    clearInterval(count);
    expect(turns).toBeGreaterThanOrEqual(2);
    expect(projected[7]).toBeCloseTo(1, 5);
    const controller = new AbortController();
    const searching = memory.project(axis, controller.signal);
    controller.abort();
    await expect(searching).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('refuses a file of too many rows before it reads them', async () => {
    const path = join(folder, 'many.safetensors');
    const shape = [2 ** 20 + 1, 2];
    const header = JSON.stringify({ embeddings: { dtype: 'I8', shape, data_offsets: [0, shape[0]! * 2] } }).padEnd(128);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    await writeFile(path, Buffer.concat([length, Buffer.from(header)]));
    await truncate(path, 8 + header.length + shape[0]! * 2);
    await expect(SupportMemory.open(path, 2)).rejects.toThrow(
      /many\.safetensors must have at most 1048576 rows.* got 1048577; train with a smaller support\.rows/,
    );
  });

  it('names a file of another width, without options, or cut short', async () => {
    const wide = join(folder, 'wide.safetensors');
    await writeSupport(wide, unitRows(4, 8), 8, { temperature: 1, neighbours: 2 });
    await expect(SupportMemory.open(wide, 16)).rejects.toThrow(/wide\.safetensors must hold .* got int8 \[4, 8\]/);
    const bare = join(folder, 'bare.safetensors');
    await writeSafetensors(bare, [['embeddings', tensor('int8', [1, 3], Int8Array.of(1, 2, 3))]]);
    await expect(SupportMemory.open(bare, 3)).rejects.toThrow(/bare\.safetensors: temperature .* NaN/);
    await truncate(wide, 100);
    await expect(SupportMemory.open(wide, 8)).rejects.toMatchObject({ code: 'data_corrupt' });
  });
});
