/**
 * Numbers of the trainer's random streams: `new RandomStream(seed, STREAMS.x, place)`, the place being an epoch or a
 * global step. All differ, so that no two purposes share draws. The starting weights are drawn by the hash of their
 * name, the order, crops and captions of pictures by the data set, both from streams of their own.
 */
export const STREAMS = {
  /** The order in which the transformer sees its rows, by epoch. */
  rowOrder: 0x6f72,
  /** Dropped and noisy conditions, by global step. */
  condition: 0x636f,
  /** Replaced tokens, by global step. */
  tokens: 0x746f,
  /** The latents that unused codes move to, by global step. */
  revivedCodes: 0x7e71fe,
} as const;
