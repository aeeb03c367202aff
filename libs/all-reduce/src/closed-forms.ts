import { expect } from 'vitest';
import type { Reduction } from './call.ts';
import type { AllReduceOptions, Group } from './group.ts';

/** Element i of rank r before a call: integers that every wire format holds, also as a sum over eight ranks. */
export function elementOf(rank: number, i: number): number {
  return ((i * 7 + rank * 13) % 31) - 15;
}

/** The tensor of rank r. */
export function tensorOf(rank: number, count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => elementOf(rank, i));
}

/** What an all-reduce over `worldSize` such tensors gives. Exact but for the last bit of a mean. */
export function reducedOf(worldSize: number, count: number, op: Reduction): Float32Array {
  // Elements repeat every 31 places.
  const period = Float32Array.from({ length: 31 }, (_, i) => {
    const all = Array.from({ length: worldSize }, (_, rank) => elementOf(rank, i));
    if (op === 'max') return Math.max(...all);
    const sum = all.reduce((a, b) => a + b);
    return op === 'mean' ? sum * Math.fround(1 / worldSize) : sum;
  });
  return Float32Array.from({ length: count }, (_, i) => period[i % 31]!);
}

/** Whether two arrays are the same to the last bit. */
export function same(a: Float32Array, b: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
    Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  return a.length === b.length && Buffer.compare(bytes(a), bytes(b)) === 0;
}

/** The largest difference. */
export function farthest(a: Float32Array, b: Float32Array): number {
  let most = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

/** Largest error of a mean of at most 15, rounded twice to the format. */
export const MEAN_TOLERANCE = { float32: 1e-6, bfloat16: 0.07, float16: 0.01 };

/** Every rank all-reduces `count` elements; results must be the closed form, and one and the same. */
export async function checkAllReduce(
  groups: readonly Group[],
  count: number,
  options: AllReduceOptions,
  allocated = false,
): Promise<void> {
  const { op = 'sum', wire = 'float32' } = options;
  const results = await Promise.all(
    groups.map(async (group) => {
      const tensor = allocated ? await group.allocate(count) : new Float32Array(count);
      tensor.set(tensorOf(group.rank, count));
      await group.allReduce(tensor, options);
      return tensor;
    }),
  );
  const expected = reducedOf(groups[0]!.worldSize, count, op);
  const tolerance = op === 'mean' ? MEAN_TOLERANCE[wire] : 0;
  const context = `${groups[0]!.worldSize} ranks, ${count} elements, ${JSON.stringify(options)}`;
  for (const result of results) {
    if (tolerance === 0) expect(same(result, expected), context).toBe(true);
    else expect(farthest(result, expected), context).toBeLessThanOrEqual(tolerance);
    expect(same(result, results[0]!), `ranks agree: ${context}`).toBe(true);
  }
}

/** The other collectives against their closed forms. */
export async function checkOthers(groups: readonly Group[], count: number): Promise<void> {
  const n = groups[0]!.worldSize;
  await Promise.all(
    groups.map(async (group) => {
      const { rank } = group;
      const input = tensorOf(rank, count * n);
      const before = input.slice();
      const slice = new Float32Array(count);
      const scattered = group.reduceScatter(input, slice);
      const gathered = new Float32Array(count * n);
      const gathering = group.allGather(tensorOf(rank, count), gathered, { wire: 'bfloat16' });
      const root = n - 1;
      const copies = [tensorOf(rank, count), tensorOf(rank + 1, 3)];
      const broadcasting = group.broadcast(copies, { root });
      await Promise.all([scattered, gathering, broadcasting, group.barrier()]);
      expect(same(slice, reducedOf(n, count * n, 'sum').subarray(rank * count, (rank + 1) * count))).toBe(true);
      expect(same(input, before)).toBe(true);
      for (let r = 0; r < n; r++)
        expect(same(gathered.slice(r * count, (r + 1) * count), tensorOf(r, count))).toBe(true);
      expect(same(copies[0]!, tensorOf(root, count)) && same(copies[1]!, tensorOf(root + 1, 3))).toBe(true);
    }),
  );
}
