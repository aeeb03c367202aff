import { concat, reshape, slice, type Value } from '@clip-gen/graph';
import type { FeatureMap } from './map-layers.ts';

/** Rows [from, to) of a map, all columns and channels: (1, C, to − from, W) with channels in blocks. */
export interface Strip {
  readonly from: number;
  readonly to: number;
  readonly rows: Value;
}

/**
 * A map in blocks of channels whose strips of rows are tensors of their own, top to bottom. What one layer makes of a
 * strip the next one takes while it is in a cache, and the strip is let go when its last reader is done: of a chain of
 * layers the maps between are never whole.
 */
export interface StripedMap extends FeatureMap {
  readonly shape: readonly [1, number, number, number];
  readonly strips: readonly Strip[];
}

/** Of a strip: with what is made of it, it stays in a processor's cache. */
const STRIP_BYTES = 4 << 20;
/** Of a map; each is some 30 operators for every layer, which take time to load. */
const MOST_STRIPS = 32;
/** A strip's rows are a multiple, as upsampling and Winograd's tiles want it. */
const UNITS = [4, 2, 1] as const;

/** [from, to) of each strip of a map, top to bottom. */
export type Edges = readonly (readonly [number, number])[];

/** [from, to) of the strips of a new map, as equal as their unit allows. */
export function stripEdges([, channels, height, width]: StripedMap['shape']): Edges {
  const unit = UNITS.find((rows) => height % rows === 0)!;
  const units = height / unit;
  const count = Math.min(units, MOST_STRIPS, Math.ceil((4 * channels * height * width) / STRIP_BYTES));
  const edge = (i: number): number => unit * Math.round((i * units) / count);
  return Array.from({ length: count }, (_, i) => [edge(i), edge(i + 1)] as const);
}

/** The map of `make`'s strips: `(from, to)` → (1, out, to − from, W) in blocks. */
export function mapOfStrips(
  shape: StripedMap['shape'],
  edges: Edges,
  make: (from: number, to: number, index: number) => Value,
): StripedMap {
  return { shape, strips: edges.map(([from, to], i) => ({ from, to, rows: make(from, to, i) })) };
}

/** Where a map's strips begin and end. */
export function edgesOf({ strips }: { readonly strips: readonly Pick<Strip, 'from' | 'to'>[] }): Edges {
  return strips.map(({ from, to }) => [from, to] as const);
}

/** Rows [start, end) of a map in one piece, (1, C, end − start, W) in blocks of `block`. */
export function rowsOf({ shape, strips }: StripedMap, start: number, end: number, block: number): Value {
  const [, channels, , width] = shape;
  const pieces = strips
    .filter(({ from, to }) => from < end && to > start)
    .map(({ from, to, rows }) => {
      if (start <= from && to <= end) return { rows, height: to - from };
      const split = reshape(rows, [1, channels / block, to - from, width * block]);
      const [first, last] = [Math.max(start, from), Math.min(end, to)];
      return { rows: slice(split, 2, first - from, last - from), height: last - first };
    });
  if (pieces.length === 1) return reshape(pieces[0]!.rows, [1, channels, end - start, width]);
  const split = pieces.map(({ rows, height }) => reshape(rows, [1, channels / block, height, width * block]));
  return reshape(concat(split, 2), [1, channels, end - start, width]);
}

/** Rows [from − 1, to + 1) of a map where it has them, and how many of the two it has not: [top, bottom]. */
export function withNeighbours(map: StripedMap, from: number, to: number, block: number) {
  const [top, bottom] = [from === 0 ? 1 : 0, to === map.shape[2] ? 1 : 0];
  return { rows: rowsOf(map, from - 1 + top, to + 1 - bottom, block), missing: [top, bottom] as const };
}
