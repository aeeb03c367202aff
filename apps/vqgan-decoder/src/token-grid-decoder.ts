import type { CallOptions } from '@clip-gen/generation';
import type { RgbImage } from '@clip-gen/image';

/** What a decoder turns into what. */
export interface DecoderDescription {
  /** By which a request chooses it. */
  readonly name: string;
  /** SHA-256 of its weights, lower-case hex. */
  readonly weightsSha256: string;
  readonly grid: { readonly height: number; readonly width: number };
  /** Codes K: tokens are in [0, K). */
  readonly codebookSize: number;
  /** Pixels. */
  readonly image: { readonly height: number; readonly width: number };
}

/** Token grids to pictures, and perhaps back: the seam between the service and whatever network it serves. */
export interface TokenGridDecoder {
  readonly description: DecoderDescription;
  /**
   * A picture for each grid, in their order; each is the one that its grid gives alone.
   *
   * @param grids height · width codes in [0, K) each, row by row; checked by the caller; not changed
   * @throws cancelled
   */
  decode(grids: readonly Int32Array[], options: CallOptions): Promise<RgbImage[]>;
  /**
   * A grid for each picture of any size, in their order. Absent where there is no way back.
   *
   * @throws cancelled
   */
  encode?(images: readonly RgbImage[], options: CallOptions): Promise<Int32Array[]>;
  /** Frees the network once running calls are done. */
  close(): Promise<void>;
}
