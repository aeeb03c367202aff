import type { WorkMemory } from '../memory/work-memory.ts';

/** A caller's tensor as the engine sees it. Counts and places are in elements, addresses in bytes of the work memory. */
export interface Piece {
  readonly count: number;
  /** Where it lies in the work memory, when it does: nothing need be copied. */
  readonly address: number | undefined;
  /** Copies elements out of the tensor. */
  read(start: number, count: number, into: number): void;
  /** Copies elements into the tensor. */
  write(start: number, count: number, from: number): void;
}

/** A tensor that `allocate` gave out. */
export function heapPiece({ kernels }: WorkMemory, address: number, count: number): Piece {
  return {
    count,
    address,
    read: (start, length, into) => kernels.copy(into, address + start * 4, length),
    write: (start, length, from) => kernels.copy(address + start * 4, from, length),
  };
}

/** A tensor that this thread can see. */
export function viewPiece({ memory }: WorkMemory, tensor: Float32Array): Piece {
  return {
    count: tensor.length,
    address: undefined,
    read: (start, length, into) =>
      new Float32Array(memory.buffer, into, length).set(tensor.subarray(start, start + length)),
    write: (start, length, from) => tensor.set(new Float32Array(memory.buffer, from, length), start),
  };
}

/** A tensor of another thread of this process, by its address: the thread that computes spends no time on copies. */
export function addressPiece(
  base: number,
  copy: (into: number, from: number, bytes: number) => void,
  tensor: number,
  count: number,
): Piece {
  const at = (start: number): number => tensor + start * 4;
  return {
    count,
    address: undefined,
    read: (start, length, into) => copy(base + into, at(start), length * 4),
    write: (start, length, from) => copy(at(start), base + from, length * 4),
  };
}
