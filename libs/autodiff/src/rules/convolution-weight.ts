import {
  concat,
  expand,
  fusedMatMul,
  gemm,
  pad,
  reduceSum,
  reshape,
  slice,
  transpose,
  type Value,
} from '@clip-gen/graph';

/** Sizes of a convolution x (B, I, H, W) → dy (B, O, H', W'), one group, no dilation. */
export interface Geometry {
  readonly stride: number;
  /** [top, left, bottom, right] */
  readonly pads: readonly [number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly x: readonly [number, number, number, number];
  readonly dy: readonly [number, number, number, number];
}

/** dW[o, i, r, s] = Σ dy[b, o, h, w] · x[b, i, h·stride + r − top, w·stride + s − left], (O, I, kH, kW). */
export function weightGradient(g: Geometry, x: Value, dy: Value): Value {
  return g.stride === 1 ? byShifts(g, x, dy) : byTaps(g, x, dy);
}

/**
 * Stride 1, all taps in one product. Both maps are laid out as (channels, all pixels of the batch) with the same pitch
 * of rows and pictures and zeros between them, so that tap (r, s) is the scalar product of two rows at a flat offset of
 * (r − top)·pitch + s − left. kH copies of dy shifted by rows and kW copies of x shifted by columns give every offset.
 */
function byShifts(g: Geometry, x: Value, dy: Value): Value {
  const [batch, inputs, height, width] = g.x;
  const [, outputs, outHeight, outWidth] = g.dy;
  const [kh, kw] = g.kernel;
  const [top, left, bottom, right] = g.pads;
  const pitch = Math.max(width + Math.max(left, right), outWidth); // of a row
  const rows = Math.max(height + Math.max(top, bottom), outHeight); // of a picture
  const pixels = batch * rows * pitch;
  const lead = Math.max(0, kw - 1 - left - top * pitch);
  const rowShifts = Array.from({ length: kh }, (_, r) => lead + r * pitch);
  const columnShifts = Array.from({ length: kw }, (_, s) => lead + top * pitch + left - s);
  const length = pixels + Math.max(rowShifts.at(-1)!, columnShifts[0]!);
  const flat = (map: Value, channels: number, h: number, w: number): Value =>
    reshape(pad(transpose(map, [1, 0, 2, 3]), [0, 0, 0, 0], [0, 0, rows - h, pitch - w]), [channels, pixels]);
  const a = shiftedCopies(flat(dy, outputs, outHeight, outWidth), rowShifts, length); // (O·kH, length)
  const b = shiftedCopies(flat(x, inputs, height, width), columnShifts, length); // (I·kW, length)
  const products = gemm(a, b, null, { transB: true });
  return transpose(reshape(products, [outputs, kh, inputs, kw]), [0, 2, 1, 3]);
}

/** (C, n) → (C·copies, length): each row repeated at the given offsets among zeros, in one Concat. */
function shiftedCopies(rows: Value, offsets: readonly number[], length: number): Value {
  const [channels, size] = rows.shape as readonly [number, number];
  const pieces: Value[] = [];
  let used = 0;
  const zerosUpTo = (position: number): void => {
    if (position > used) pieces.push(expand(rows.graph.scalar(0), [channels, position - used]));
  };
  offsets.forEach((offset, i) => {
    zerosUpTo(i * length + offset);
    pieces.push(rows);
    used = i * length + offset + size;
  });
  zerosUpTo(offsets.length * length);
  return reshape(concat(pieces, 1), [channels * offsets.length, length]);
}

/** Any stride: the taps' columns side by side, one product for each picture. */
function byTaps(g: Geometry, x: Value, dy: Value): Value {
  const [batch, outputs, height, width] = g.dy;
  const inputs = g.x[1];
  const [kh, kw] = g.kernel;
  const padded = pad(x, [0, 0, g.pads[0], g.pads[1]], [0, 0, g.pads[2], g.pads[3]]);
  const taps: Value[] = [];
  for (let r = 0; r < kh; r++) {
    const rows = slice(padded, 2, r, r + (height - 1) * g.stride + 1, g.stride);
    for (let s = 0; s < kw; s++) taps.push(slice(rows, 3, s, s + (width - 1) * g.stride + 1, g.stride));
  }
  const area = height * width;
  const columns = reshape(concat(taps, 1), [batch, kh * kw * inputs, area]);
  const products = fusedMatMul(reshape(dy, [batch, outputs, area]), columns, { transB: true });
  const sum = reduceSum(products, [0]); // (O, kH·kW·I)
  return transpose(reshape(sum, [outputs, kh, kw, inputs]), [0, 3, 1, 2]);
}
