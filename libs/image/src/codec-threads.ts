import sharp from 'sharp';
import { invalidArgument } from '@clip-gen/errors';

/**
 * Sets how many threads one picture is decoded with (all of the process), and keeps no decoded picture around. For
 * workers that decode many pictures side by side: 1.
 */
export function setCodecThreads(threads: number): void {
  if (!Number.isInteger(threads) || threads < 1) throw invalidArgument('threads', 'a positive integer', threads);
  sharp.concurrency(threads);
  sharp.cache(false);
}
