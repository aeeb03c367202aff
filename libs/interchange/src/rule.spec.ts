import { tensor } from '@clip-gen/tensor';
import { expect, it } from 'vitest';
import { converted, shapeAfter, storedType, transformed } from './rule.ts';

const matrix = tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
const points = tensor('float32', [1, 3, 1, 1], Float32Array.of(7, 8, 9));

it('copies, transposes, flattens and stacks', () => {
  expect(transformed('copy', [points])).toEqual(points);
  expect(transformed('matrix', [points])).toEqual(tensor('float32', [1, 3], points.data));
  expect(transformed('transpose', [matrix])).toEqual(tensor('float32', [3, 2], Float32Array.of(1, 4, 2, 5, 3, 6)));
  expect(transformed('stack', [matrix, points])).toEqual(
    tensor('float32', [3, 3], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9)),
  );
  const bias = tensor('float16', [2], Uint16Array.of(1, 2));
  expect(transformed('stack', [bias, bias])).toEqual(tensor('float16', [4], Uint16Array.of(1, 2, 1, 2)));
});

it('knows the shape before the tensors are read', () => {
  expect(
    shapeAfter('stack', [
      [2, 3],
      [1, 3, 1, 1],
      [4, 3],
    ]),
  ).toEqual([7, 3]);
  expect(
    shapeAfter('stack', [
      [2, 3],
      [2, 4],
    ]),
  ).toBeUndefined();
  expect(shapeAfter('transpose', [[3]])).toBeUndefined();
});

it('keeps float16 where all of it is, and refuses integers', () => {
  expect(storedType(['float16', 'float16'], 'keep')).toBe('float16');
  expect(storedType(['float16', 'float32'], 'keep')).toBe('float32');
  expect(storedType(['bfloat16'], 'keep')).toBe('float32');
  expect(storedType(['float64'], 'float16')).toBe('float16');
  expect(storedType(['int64'], 'keep')).toBeUndefined();
  expect(converted(tensor('float64', [1], Float64Array.of(1.5)), 'float16').data).toEqual(Uint16Array.of(0x3e00));
  expect(converted(tensor('bfloat16', [1], Uint16Array.of(0x3fc0)), 'float32').data).toEqual(Float32Array.of(1.5));
});
