import { ClipGenError } from '@clip-gen/errors';

/**
 * max |a − b| / max |b|: one figure for how far `a` is from the reference `b`, on the scale of its largest element.
 * NaN when either holds a NaN (so that every comparison with it fails); 0 for equal arrays, also when `b` is all zero;
 * Infinity when `b` is all zero and `a` is not.
 *
 * @throws invalid_argument for arrays of different lengths
 */
export function maxRelativeToLargest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) {
    throw new ClipGenError('invalid_argument', `a must have as many elements as b, ${b.length}; got ${a.length}`);
  }
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs(a[i]! - b[i]!)); // Math.max keeps a NaN
    largest = Math.max(largest, Math.abs(b[i]!));
  }
  return difference === 0 ? 0 : difference / largest;
}
