import { concat, matMul, reshape, slice, transpose, type Dim, type Value } from '@clip-gen/graph';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { blockedConv, layBlocks } from './blocked-convolution.ts';

/** Rows of output that a tile makes at once. */
const TILE_ROWS = 4;
/** Rows of input that these need, and products of rows that replace 3 · 4. */
const PRODUCTS = TILE_ROWS + 2;

// Toom and Cook's F(4, 3) at the points 0, 1, −1, 2, −2 and infinity (Lavin and Gray, arXiv 1509.09308).
const INPUT = [
  [4, 0, -5, 0, 1, 0],
  [0, -4, -4, 1, 1, 0],
  [0, 4, -4, -1, 1, 0],
  [0, -2, -1, 2, 1, 0],
  [0, 2, -1, -2, 1, 0],
  [0, 4, 0, -5, 0, 1],
];
const KERNEL = [
  [1 / 4, 0, 0],
  [-1 / 6, -1 / 6, -1 / 6],
  [-1 / 6, 1 / 6, -1 / 6],
  [1 / 24, 1 / 12, 1 / 6],
  [1 / 24, -1 / 12, 1 / 6],
  [0, 0, 1],
];
const OUTPUT = [
  [1, 1, 1, 1, 1, 0],
  [0, 1, -1, 2, -2, 0],
  [0, 1, 1, 4, 4, 0],
  [0, 1, -1, 8, -8, 1],
];
/** The product whose sum enters every output row once: the bias goes there. */
const AT_ONE = 1;

/** Of the input of a strip: with what is made of it, it stays in a processor's cache. */
const STRIP_BYTES = 8 << 20;
/** Below, bringing rows into sums and back costs more than half the multiplications. */
const FEWEST_CHANNELS = 128;
const FEWEST_ROWS = 64;

/** Whether {@link winogradConv} can take a map and is faster than the convolution tap by tap. */
export function winogradPays(x: Value, out: number): boolean {
  const [, channels, height] = x.shape as [Dim, number, number];
  return Math.min(channels, out) >= FEWEST_CHANNELS && height >= FEWEST_ROWS && height % TILE_ROWS === 0;
}

/**
 * A 3 × 3 convolution with zeros around, by half the multiplications: along a row as ever, down the columns by
 * Winograd's F(4, 3), which makes 4 rows of output from 6 sums of 6 rows of input. In strips, whose sums and products
 * lie in a cache. x (B, I, H, W) in blocks, H a multiple of 4, weight (O, I, 3, 3) plain, bias (O) → (B, O, H, W) in
 * blocks. For a constant weight: its sums are folded when the model loads.
 */
export function winogradConv(x: Value, weight: Value, bias: Value, block: number): Value {
  const [batch, into, height, width] = x.shape as [Dim, number, number, number];
  const out = weight.shape[0] as number;
  const zeros = (count: number): Value =>
    x.graph.constant(tensor('float32', [count * out], new Float32Array(count * out)));
  const taps = reshape(transpose(weight, [2, 0, 1, 3]), [3, out * into * 3]);
  const kernels = matMul(x.graph.constant(matrix(KERNEL)), taps); // (6, O·I·3)
  const filter: Filter = {
    weight: layBlocks(reshape(kernels, [PRODUCTS * out, into, 1, 3]), block),
    bias: concat([zeros(AT_ONE), bias, zeros(PRODUCTS - 1 - AT_ONE)], 0),
    sums: INPUT.map((row) => sameForAll(x, row, into, block)),
    mix: x.graph.constant(matrix(OUTPUT)),
  };
  const rows = reshape(x, [batch, into / block, height, width * block]);
  const strips = stripsOf(height, 4 * into * width).map(([from, to]) => {
    const [start, end] = [Math.max(0, from - 1), Math.min(height, to + 1)];
    const strip = reshape(slice(rows, 2, start, end), [batch, into, end - start, width]);
    return stripConv(strip, filter, [start - from + 1, to + 1 - end], block);
  });
  return reshape(concat(strips, 2), [batch, out, height, width]);
}

/** Rows [from, to) of each strip: whole tiles of rows, as equal as that allows. */
function stripsOf(height: number, rowBytes: number): readonly (readonly [number, number])[] {
  const tiles = height / TILE_ROWS;
  const count = Math.min(tiles, Math.ceil((height * rowBytes) / STRIP_BYTES));
  const edge = (i: number): number => TILE_ROWS * Math.round((i * tiles) / count);
  return Array.from({ length: count }, (_, i) => [edge(i), edge(i + 1)]);
}

/** What all strips of a convolution share. */
interface Filter {
  /** (6·O, I, 1, 3), in blocks */
  readonly weight: Value;
  /** (6·O) */
  readonly bias: Value;
  /** 6 of (I, 1, 6, 1) */
  readonly sums: readonly Value[];
  /** (4, 6) */
  readonly mix: Value;
}

/** A strip with the rows above and below that its `padding` [top, bottom] does not stand for → (B, O/block, H, W·block). */
function stripConv(x: Value, filter: Filter, [top, bottom]: readonly [number, number], block: number): Value {
  const [batch, into, , width] = x.shape as [Dim, number, number, number];
  const strides = [TILE_ROWS, 1] as const;
  const sums = filter.sums.map((sum) => blockedConv(x, sum, null, { pads: [top, 0, bottom, 0], strides, group: into }));
  const tiles = sums[0]!.shape[2] as number;
  const products = blockedConv(concat(sums, 1), filter.weight, filter.bias, { pads: [0, 1, 0, 1], group: PRODUCTS });
  const out = (products.shape[1] as number) / PRODUCTS;
  const mixed = matMul(filter.mix, reshape(products, [batch, PRODUCTS, out * tiles * width])); // (B, 4, O·H/4·W)
  const apart = reshape(mixed, [batch, TILE_ROWS, out / block, tiles, width * block]);
  return reshape(transpose(apart, [0, 2, 3, 1, 4]), [batch, out / block, TILE_ROWS * tiles, width * block]);
}

/** A depthwise kernel down a column, the same for all channels: (C, 1, 6, 1), stored as (C/block, 6, 1, block). */
function sameForAll(x: Value, taps: readonly number[], channels: number, block: number): Value {
  const values = new Float32Array(channels * taps.length);
  for (let i = 0; i < values.length; i++) values[i] = taps[Math.floor(i / block) % taps.length]!;
  return x.graph.constant(tensor('float32', [channels, 1, taps.length, 1], values));
}

function matrix(rows: readonly (readonly number[])[]): Tensor {
  return tensor('float32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));
}
