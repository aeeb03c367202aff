import { fusedMatMul, matMul, type Value } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';

/**
 * Bilinear resize of (B, C, S, S) to (B, C, size, size) without antialiasing, half-pixel centres (PyTorch's
 * `interpolate(mode='bilinear', align_corners=False)`), as two products with constant matrices: differentiable.
 */
export function resizeBilinear(x: Value, size: number): Value {
  const [, , height, width] = x.shape as [unknown, unknown, number, number];
  if (height === size && width === size) return x;
  const rows = x.graph.constant(tensor('float32', [size, height], interpolation(height, size)));
  const columns = x.graph.constant(tensor('float32', [size, width], interpolation(width, size)));
  return fusedMatMul(matMul(rows, x), columns, { transB: true });
}

/** Row o holds the two weights of output pixel o over the `from` input pixels. */
function interpolation(from: number, to: number): Float32Array<ArrayBuffer> {
  const matrix = new Float32Array(to * from);
  for (let o = 0; o < to; o++) {
    const centre = Math.max(0, ((o + 0.5) * from) / to - 0.5);
    const low = Math.min(Math.floor(centre), from - 1);
    const high = Math.min(low + 1, from - 1);
    const share = centre - low;
    matrix[o * from + low]! += 1 - share;
    matrix[o * from + high]! += share;
  }
  return matrix;
}
