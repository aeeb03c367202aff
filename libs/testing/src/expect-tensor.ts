import { AssertionError } from 'node:assert';
import type { Tensor } from '@clip-gen/tensor';
import { expectClose, type Tolerance } from './expect-close.ts';

/**
 * Passes when `actual` has the dtype and shape of `expected` and its elements lie within `tolerance`. Integers and
 * booleans must be equal, whatever the tolerance.
 *
 * @param name stands in the message
 * @throws AssertionError that names the tensor and what differs
 */
export function expectTensor(name: string, actual: Tensor | undefined, expected: Tensor, tolerance: Tolerance): void {
  if (!actual) throw new AssertionError({ message: `${name}: there is no such tensor`, operator: 'expectTensor' });
  const [got, wanted] = [show(actual), show(expected)];
  if (got !== wanted) {
    const message = `${name}: expected ${wanted}; got ${got}`;
    throw new AssertionError({ message, actual: got, expected: wanted, operator: 'expectTensor' });
  }
  const isFloat = expected.dtype === 'float32' || expected.dtype === 'float64';
  try {
    expectClose(numbers(actual), numbers(expected), isFloat ? tolerance : { absolute: 0 });
  } catch (error) {
    if (error instanceof AssertionError) error.message = `${name} ${wanted}: ${error.message}`;
    throw error;
  }
}

function show({ dtype, shape }: Tensor): string {
  return `${dtype} [${shape.join(', ')}]`;
}

function numbers({ data }: Tensor): ArrayLike<number> {
  return data instanceof BigInt64Array ? Array.from(data, Number) : data;
}
