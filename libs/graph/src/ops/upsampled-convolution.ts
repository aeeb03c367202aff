import { tensor } from '@clip-gen/tensor';
import { staticDim, staticShape, type Dim } from '../dim.ts';
import type { Value } from '../value.ts';
import { requireRank } from './check.ts';
import { conv } from './convolution.ts';
import { matMul } from './linalg.ts';
import { concat, reshape, slice } from './shape.ts';

/** Which taps of a 3-tap kernel fall on each of the two source pixels, for an even and an odd output pixel. */
const FOLDS = [
  [[0], [1, 2]], // reads x[h − 1], x[h]
  [[0, 1], [2]], // reads x[h], x[h + 1]
] as const;
const PHASES = [0, 1] as const;

/** The convolution of one kind of output pixel of an {@link upsampledConv}. */
export interface PhaseKernel {
  /** (O, I, 2, 2) */
  readonly weight: Value;
  readonly pads: readonly [number, number, number, number];
}

/**
 * `conv(upsampleNearest(x, 2), weight, bias, { pads: [1, 1, 1, 1] })` without the larger map: where the 3 × 3 kernel
 * reads a pixel more than once its taps are added up beforehand, and each of the four kinds of output pixel (even or
 * odd row, even or odd column) is a 2 × 2 convolution of x. 4/9 of the multiplications.
 * x (B, I, H, W), weight (O, I, 3, 3), bias (O) → (B, O, 2·H, 2·W).
 */
export function upsampledConv(x: Value, weight: Value, bias: Value | null): Value {
  requireRank('UpsampledConv', x, 4);
  const outputs = staticDim(weight.shape, 0, 'UpsampledConv');
  const [height, width] = [staticDim(x.shape, 2, 'UpsampledConv'), staticDim(x.shape, 3, 'UpsampledConv')];
  const rows = phaseKernels(weight).map((kernels) => {
    const columns = kernels.map(({ weight: kernel, pads }) =>
      reshape(conv(x, kernel, bias, { pads }), [x.shape[0]!, outputs, height, width, 1]),
    );
    return reshape(concat(columns, 4), [x.shape[0]!, outputs, height, 1, 2 * width]);
  });
  const shape: Dim[] = [x.shape[0]!, outputs, 2 * height, 2 * width];
  return reshape(concat(rows, 3), shape);
}

/** The kernels that an {@link upsampledConv} of `weight` (O, I, 3, 3) is made of, `[odd row][odd column]`. */
export function phaseKernels(weight: Value): readonly (readonly PhaseKernel[])[] {
  const [outputs, inputs] = staticShape(weight.shape, 'UpsampledConv') as [number, number, number, number];
  const folded = matMul(reshape(weight, [outputs * inputs, 9]), weight.graph.constant(foldMatrix())); // (O·I, 16)
  return PHASES.map((down) =>
    PHASES.map((right) => {
      const start = 4 * (2 * down + right);
      const kernel = reshape(slice(folded, 1, start, start + 4), [outputs, inputs, 2, 2]);
      return { weight: kernel, pads: [1 - down, 1 - right, down, right] };
    }),
  );
}

/** (9 taps, 4 phases × 4 taps) of zeros and ones. */
function foldMatrix() {
  const matrix = new Float32Array(9 * 16);
  PHASES.forEach((down) => {
    PHASES.forEach((right) => {
      FOLDS[down].forEach((tapRows, r) => {
        FOLDS[right].forEach((tapColumns, s) => {
          for (const tapRow of tapRows) {
            for (const tapColumn of tapColumns) {
              matrix[(3 * tapRow + tapColumn) * 16 + 4 * (2 * down + right) + 2 * r + s] = 1;
            }
          }
        });
      });
    });
  });
  return tensor('float32', [9, 16], matrix);
}
