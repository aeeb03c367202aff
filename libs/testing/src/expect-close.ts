import { AssertionError } from 'node:assert';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';

/** How far two numbers may lie apart: `absolute + relative × |expected|`. At least one of the two is written down. */
export interface Tolerance {
  /** In the numbers' own unit; 0 when left out. */
  readonly absolute?: number;
  /** A factor of the expected size; 0 when left out. */
  readonly relative?: number;
  /**
   * `'max'` measures `relative` against the largest |expected| of the whole array instead of each element's own: the
   * right scale for gradients and matrix products, whose small elements are differences of large ones.
   */
  readonly scale?: 'max';
}

/**
 * Passes when every element of `actual` is within `tolerance` of `expected`. A NaN on either side fails; infinities
 * are close to themselves only. Nothing is kept.
 *
 * @throws AssertionError that names the worst index, both values and the tolerance there
 * @throws invalid_argument when no tolerance is given, or a negative one
 */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: Tolerance): void {
  const { absolute = 0, relative = 0, scale } = tolerance;
  if (tolerance.absolute === undefined && tolerance.relative === undefined) {
    throw new ClipGenError('invalid_argument', 'tolerance must give absolute, relative or both; got neither');
  }
  if (!(absolute >= 0)) throw invalidArgument('absolute', '>= 0', absolute);
  if (!(relative >= 0)) throw invalidArgument('relative', '>= 0', relative);
  if (actual.length !== expected.length) {
    throw failure(`expected ${expected.length} numbers; got ${actual.length}`, actual.length, expected.length);
  }

  const largest = scale === 'max' ? largestMagnitude(expected) : 0;
  let worst = -1;
  let worstExcess = 0;
  let outside = 0;
  for (let i = 0; i < expected.length; i++) {
    const e = expected[i]!;
    const a = actual[i]!;
    if (a === e) continue; // equal infinities too
    const allowed = absolute + relative * (scale === 'max' ? largest : Math.abs(e));
    const difference = Math.abs(a - e);
    if (Number.isFinite(difference) && difference <= allowed) continue;
    outside++;
    // NaN and infinite differences are worse than any finite one.
    const excess = Number.isFinite(difference) ? difference - allowed : Infinity;
    if (worst === -1 || excess > worstExcess) {
      worst = i;
      worstExcess = excess;
    }
  }
  if (worst === -1) return;

  const e = expected[worst]!;
  const a = actual[worst]!;
  const size = scale === 'max' ? largest : Math.abs(e);
  throw failure(
    `worst at index ${worst} of ${expected.length}: expected ${e}; got ${a}; ` +
      `they differ by ${Math.abs(a - e)}, allowed ${absolute + relative * size} ` +
      `(absolute ${absolute} + relative ${relative} × ${scale === 'max' ? 'largest' : 'own'} magnitude ${size}); ` +
      `${outside} outside`,
    a,
    e,
  );
}

function largestMagnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude > largest && magnitude < Infinity) largest = magnitude;
  }
  return largest;
}

function failure(message: string, actual: number, expected: number): AssertionError {
  return new AssertionError({ message, actual, expected, operator: 'expectClose' });
}
