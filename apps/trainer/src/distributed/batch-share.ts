import { ClipGenError } from '@clip-gen/errors';
import type { World } from './world.ts';

/** How the batch of one step is divided among the processes, and among runs of the graph within one. */
export interface BatchShare {
  /** Pictures of a step, of all processes together. */
  readonly whole: number;
  /** Pictures of a step that this process sees. */
  readonly own: number;
  /** Place of the first of them in the whole batch. */
  readonly first: number;
  /** Times the graph runs a step. */
  readonly runs: number;
  /** Pictures of one run. */
  readonly run: number;
}

/** Process r has the pictures from r·own on: with others that are the same, the whole batch is the same. */
export function batchShare(
  { batchSize, accumulate }: { readonly batchSize: number; readonly accumulate: number },
  { rank, size }: World,
): BatchShare {
  const own = batchSize * accumulate;
  return { whole: own * size, own, first: rank * own, runs: accumulate, run: batchSize };
}

/**
 * Steps of an epoch: whole batches only.
 *
 * @throws invalid_argument when there are fewer pictures than a batch
 */
export function wholeBatches(pictures: number, { whole, run }: BatchShare): number {
  if (whole <= pictures) return Math.floor(pictures / whole);
  const bound = `at most the number of training pictures, ${pictures}`;
  const times = whole / run;
  if (times === 1) {
    const fitting = 2 ** Math.floor(Math.log2(Math.max(1, pictures)));
    const hint = `e.g. --set batchSize=${fitting}`;
    throw new ClipGenError('invalid_argument', `batchSize must be ${bound}; got ${whole}; ${hint}`);
  }
  throw new ClipGenError(
    'invalid_argument',
    `batchSize · accumulate · processes must be ${bound}; got ${run} · ${times}: take a smaller batchSize or fewer processes`,
  );
}
