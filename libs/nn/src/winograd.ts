import { concat, matMul, reshape, transpose, type GraphBuilder, type Value } from '@clip-gen/graph';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { blockedConv, layBlocks } from './blocked-convolution.ts';
import { edgesOf, mapOfStrips, withNeighbours, type StripedMap } from './strips.ts';

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

/** Below, bringing rows into sums and back costs more than half the multiplications. */
const FEWEST_CHANNELS = 128;
const FEWEST_ROWS = 64;

/** Whether {@link winogradConv} can take a map and is faster than the convolution tap by tap. */
export function winogradPays({ shape: [, channels, height] }: StripedMap, out: number): boolean {
  return Math.min(channels, out) >= FEWEST_CHANNELS && height >= FEWEST_ROWS && height % TILE_ROWS === 0;
}

/**
 * A 3 × 3 convolution with zeros around, by half the multiplications: along a row as ever, down the columns by
 * Winograd's F(4, 3), which makes 4 rows of output from 6 sums of 6 rows of input. Strip by strip, whose sums and
 * products lie in a cache. x (1, I, H, W), H a multiple of 4, weight (O, I, 3, 3) plain, bias (O) → (1, O, H, W). The
 * weight's sums depend on nothing else: for a weight that does not change.
 */
export function winogradConv(x: StripedMap, weight: Value, bias: Value, block: number): StripedMap {
  const [, into, height, width] = x.shape;
  const out = weight.shape[0] as number;
  const { graph } = weight;
  const zeros = (count: number): Value =>
    graph.constant(tensor('float32', [count * out], new Float32Array(count * out)));
  const taps = reshape(transpose(weight, [2, 0, 1, 3]), [3, out * into * 3]);
  const kernels = matMul(graph.constant(matrix(KERNEL)), taps); // (6, O·I·3)
  const filter: Filter = {
    weight: layBlocks(reshape(kernels, [PRODUCTS * out, into, 1, 3]), block),
    bias: concat([zeros(AT_ONE), bias, zeros(PRODUCTS - 1 - AT_ONE)], 0),
    sums: INPUT.map((row) => sameForAll(graph, row, into, block)),
    mix: graph.constant(matrix(OUTPUT)),
  };
  return mapOfStrips([1, out, height, width], edgesOf(x), (from, to) => {
    const { rows, missing } = withNeighbours(x, from, to, block);
    return stripConv(rows, filter, missing, block);
  });
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

/** A strip with the rows above and below that its `padding` [top, bottom] does not stand for → (1, O, H, W). */
function stripConv(x: Value, filter: Filter, [top, bottom]: readonly [number, number], block: number): Value {
  const [, into, , width] = x.shape as [1, number, number, number];
  const strides = [TILE_ROWS, 1] as const;
  const sums = filter.sums.map((sum) => blockedConv(x, sum, null, { pads: [top, 0, bottom, 0], strides, group: into }));
  const tiles = sums[0]!.shape[2] as number;
  const products = blockedConv(concat(sums, 1), filter.weight, filter.bias, { pads: [0, 1, 0, 1], group: PRODUCTS });
  const out = (products.shape[1] as number) / PRODUCTS;
  const mixed = matMul(filter.mix, reshape(products, [1, PRODUCTS, out * tiles * width])); // (1, 4, O·H/4·W)
  const apart = reshape(mixed, [1, TILE_ROWS, out / block, tiles, width * block]);
  return reshape(transpose(apart, [0, 2, 3, 1, 4]), [1, out, TILE_ROWS * tiles, width]);
}

/** A depthwise kernel down a column, the same for all channels: (C, 1, 6, 1), stored as (C/block, 6, 1, block). */
function sameForAll(graph: GraphBuilder, taps: readonly number[], channels: number, block: number): Value {
  const values = new Float32Array(channels * taps.length);
  for (let i = 0; i < values.length; i++) values[i] = taps[Math.floor(i / block) % taps.length]!;
  return graph.constant(tensor('float32', [channels, 1, taps.length, 1], values));
}

function matrix(rows: readonly (readonly number[])[]): Tensor {
  return tensor('float32', [rows.length, rows[0]!.length], Float32Array.from(rows.flat()));
}
