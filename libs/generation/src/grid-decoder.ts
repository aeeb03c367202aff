import { invalidArgument } from '@clip-gen/errors';
import type { RgbImage } from '@clip-gen/image';
import { tensor, type Tensor } from '@clip-gen/tensor';
import type { CallOptions } from './network.ts';

/** Token grids to pictures, whatever the network: the VQGAN's own decoder, or a preview's. */
export interface GridDecoder {
  /** Tokens of a picture, g·g. */
  readonly tokens: number;
  /**
   * The picture of a token grid, S × S, clamped to 8 bits.
   *
   * @param tokens g·g codes in [0, K), row by row
   * @throws invalid_argument for another number of tokens or one out of range; cancelled
   */
  decode(tokens: ArrayLike<number>, options?: CallOptions): Promise<RgbImage>;
  /**
   * The pictures of several token grids, in their order, several in a run. A picture does not depend on what is decoded
   * with it.
   *
   * @throws what {@link decode} throws
   */
  decodeAll(grids: readonly ArrayLike<number>[], options?: CallOptions): Promise<RgbImage[]>;
  /** Frees the network once running calls are done. */
  close(): Promise<void>;
}

/** What a grid must be. */
export interface GridBounds {
  /** Tokens of a grid. */
  readonly tokens: number;
  /** Codes K. */
  readonly codebookSize: number;
}

/** @throws invalid_argument for another number of tokens or one out of range */
export function checkGrid(grid: ArrayLike<number>, { tokens, codebookSize }: GridBounds): void {
  if (grid.length !== tokens) throw invalidArgument('tokens', `${tokens} codes`, grid.length);
  for (let i = 0; i < grid.length; i++) {
    const token = grid[i]!;
    if (!Number.isInteger(token) || token < 0 || token >= codebookSize) {
      throw invalidArgument(`tokens[${i}]`, `an integer in [0, ${codebookSize})`, token);
    }
  }
}

/** Grids of one length as int64 (B, T). */
export function gridTensor(grids: readonly ArrayLike<number>[]): Tensor<'int64'> {
  const length = grids[0]!.length;
  const ids = new BigInt64Array(grids.length * length);
  grids.forEach((grid, b) => {
    for (let i = 0; i < length; i++) ids[b * length + i] = BigInt(grid[i]!);
  });
  return tensor('int64', [grids.length, length], ids);
}
