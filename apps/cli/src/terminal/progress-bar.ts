import type { Progress } from '@clip-gen/generation';

/** A bar on a terminal; nothing elsewhere, so that logs stay clean. */
export interface ProgressBar {
  update(progress: Progress): void;
  /** Removes the bar. */
  stop(): void;
}

/** Share of the bar that drawing tokens takes; the rest is decoding and judging. */
const TOKENS_SHARE = 0.6;

/** A bar on stderr for one generation. */
export async function startProgressBar(stream: NodeJS.WriteStream = process.stderr): Promise<ProgressBar> {
  if (!stream.isTTY) return { update: () => undefined, stop: () => undefined };
  const { Presets, SingleBar } = await import('cli-progress');
  const bar = new SingleBar(
    { format: '{bar} {percentage}%  {stage}', clearOnComplete: true, hideCursor: true, stream, gracefulExit: false },
    Presets.shades_classic,
  );
  bar.start(100, 0, { stage: 'loading the model' });
  let stopped = false;
  return {
    update: ({ stage, done, total }) => {
      const share = done / total;
      const all = stage === 'tokens' ? share * TOKENS_SHARE : TOKENS_SHARE + share * (1 - TOKENS_SHARE);
      bar.update(Math.floor(all * 100), { stage: stage === 'tokens' ? 'drawing' : 'choosing the best' });
    },
    stop: () => {
      if (!stopped) bar.stop(); // a second time it would clear the line that is there now
      stopped = true;
    },
  };
}
