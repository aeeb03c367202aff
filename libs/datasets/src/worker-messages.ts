import type { ClipGenError } from '@clip-gen/errors';
import type { Augmentation } from './crop-pixels.ts';

/** Where a decoded picture lies in the cache. */
export interface CachedPicture {
  readonly chunk: number;
  readonly offset: number;
  readonly width: number;
  readonly height: number;
}

/** Limits and scale for decoding; see `DecodeOptions` of the image library. */
export interface DecodeSettings {
  readonly root: string;
  readonly shortSide: number;
  readonly maxPixels: number;
  readonly maxFileBytes: number;
}

/** Decode files once, into one shared buffer. */
export interface DecodeJob {
  readonly kind: 'decode';
  readonly settings: DecodeSettings;
  readonly files: readonly string[];
}

/** What a decode job gives. */
export interface DecodeResult {
  readonly pixels: SharedArrayBuffer;
  /** For each file its place in `pixels`, or why it cannot be read. */
  readonly pictures: readonly (Omit<CachedPicture, 'chunk'> | string)[];
}

/** Cut pictures into one batch. A picture comes from the cache when it has a place there, else from its file. */
export interface BatchJob {
  readonly kind: 'batch';
  readonly settings: DecodeSettings;
  readonly imageSize: number;
  readonly training: boolean;
  readonly seed: number;
  readonly epoch: number;
  readonly augmentation: Augmentation;
  readonly items: readonly BatchItem[];
}

/** One picture of a batch. */
export interface BatchItem {
  /** Place in the epoch: names the random draws. */
  readonly place: number;
  readonly picture: CachedPicture | string;
}

/** What a batch job gives. */
export interface BatchResult {
  /** (items, 3, imageSize, imageSize) in −1..1; transferred. The rows of failed items are zero. */
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly failures: readonly { readonly item: number; readonly reason: string }[];
}

/** The decoded pictures, for every later batch job. No answer. */
export interface CacheMessage {
  readonly kind: 'cache';
  readonly chunks: readonly SharedArrayBuffer[];
}

/** Work for a thread. */
export type Job = DecodeJob | BatchJob;
/** What a job of this kind gives. */
export type ResultOf<J extends Job> = J extends DecodeJob ? DecodeResult : BatchResult;
/** A message to a thread. */
export type Request = { readonly id: number; readonly job: Job } | CacheMessage;
/** A message from a thread: the result or the failure of the job `id`. */
export type Answer =
  | { readonly id: number; readonly result: DecodeResult | BatchResult }
  | { readonly id: number; readonly error: { readonly code: ClipGenError['code']; readonly message: string } };
