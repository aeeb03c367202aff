import { invalidArgument } from '@clip-gen/errors';
import { RandomStream } from '@clip-gen/rng';

// Substream numbers, so that the order, the crops and the captions of an epoch are independent draws.
const ORDER = 0x6f726465;
const CAPTION = 0x63617074;
const AUGMENT = 0x6175676d;

/** Words kept apart for the draws of one picture; augmentation takes fewer. */
const WORDS_A_PICTURE = 16;

/** Item numbers 0…count−1 in the order of an epoch: shuffled by (seed, epoch) in training, ascending otherwise. */
export function epochOrder(count: number, training: boolean, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  return training ? new RandomStream(seed, epoch, ORDER).shuffle(order) : order;
}

/** Which of `variants` captions the picture at a place of the epoch goes with. */
export function captionVariant(variants: number, seed: number, epoch: number, place: number): number {
  return new RandomStream(seed, epoch, CAPTION, place * WORDS_A_PICTURE).integer(variants);
}

/** The draws for the crop, flip and colours of the picture at a place of the epoch. */
export function augmentStream(seed: number, epoch: number, place: number): RandomStream {
  return new RandomStream(seed, epoch, AUGMENT, place * WORDS_A_PICTURE);
}

/** Batches of an epoch: whole ones only in training, the rest as a smaller last one otherwise. */
export function batchCount(count: number, batchSize: number, training: boolean): number {
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw invalidArgument('batchSize', 'a positive integer', batchSize);
  return training ? Math.floor(count / batchSize) : Math.ceil(count / batchSize);
}
