import type { Piece } from './piece.ts';

/** Consecutive elements of one tensor. */
export interface Part {
  /** Which tensor. */
  readonly tensor: number;
  readonly start: number;
  readonly count: number;
}

/** Elements that travel together: parts of one or of several tensors. */
export interface Segment {
  readonly parts: readonly Part[];
  readonly count: number;
}

/** A tensor of at least so many elements begins a segment of its own, so that it need not be packed. */
const OWN_SEGMENT = 65536;

/**
 * Cuts a list of tensors into segments: depends on the sizes alone, so that every rank cuts alike. Small neighbours share
 * one, large tensors are cut. There is always at least one, if an empty one.
 *
 * @param most elements of a segment
 */
export function cut(counts: readonly number[], most: number): Segment[] {
  const segments: Segment[] = [];
  let parts: Part[] = [];
  let filled = 0;
  const finish = (): void => {
    if (parts.length > 0) segments.push({ parts, count: filled });
    parts = [];
    filled = 0;
  };
  for (const [tensor, count] of counts.entries()) {
    if (count >= OWN_SEGMENT) finish();
    for (let start = 0; start < count;) {
      if (filled === most) finish();
      const taken = Math.min(count - start, most - filled);
      parts.push({ tensor, start, count: taken });
      filled += taken;
      start += taken;
    }
  }
  finish();
  return segments.length > 0 ? segments : [{ parts: [], count: 0 }];
}

/** Where the segment lies in the work memory in one stretch; undefined when it must be gathered on a stage. */
export function contiguousAddress(segment: Segment, pieces: readonly Piece[]): number | undefined {
  const [first] = segment.parts;
  const base = first && pieces[first.tensor]!.address;
  if (first === undefined || base === undefined) return undefined;
  const address = base + first.start * 4;
  let next = address;
  for (const { tensor, start, count } of segment.parts) {
    const at = pieces[tensor]!.address;
    if (at === undefined || at + start * 4 !== next) return undefined;
    next += count * 4;
  }
  return address;
}

/** Copies a segment's parts into one stretch at `address`. */
export function load(segment: Segment, pieces: readonly Piece[], address: number): void {
  for (const { tensor, start, count } of segment.parts) {
    pieces[tensor]!.read(start, count, address);
    address += count * 4;
  }
}

/** Copies a stretch of a segment's elements, from `first` on, into the tensors. */
export function store(segment: Segment, pieces: readonly Piece[], address: number, first: number, count: number): void {
  let at = 0;
  for (const part of segment.parts) {
    const from = Math.max(first, at);
    const to = Math.min(first + count, at + part.count);
    if (from < to) pieces[part.tensor]!.write(part.start + from - at, to - from, address + (from - first) * 4);
    at += part.count;
  }
}
