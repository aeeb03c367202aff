import { ClipGenError } from '@clip-gen/errors';
import type { TransformerSamplerClient } from '@clip-gen/contracts';
import type { CallExtras } from '@clip-gen/serving';
import type { GenerationRequest } from '../generation-request.ts';
import { withAttempts, type AttemptOptions } from './attempts.ts';
import type { TokenLog } from './token-log.ts';

/**
 * Token events of a grid: often enough to show progress and to begin partial pictures in time, and few, because an event
 * costs what a small model's step does.
 */
const EVENTS_PER_GRID = 16;

/**
 * Fills the log. The tokens are a function of the request, so when a replica goes away another one draws again what is
 * not finished, and the log passes over what it has.
 *
 * @param condition the prompt's unit embedding (E)
 * @param onTokens called after every event
 */
export async function sampleTokens(
  sampler: TransformerSamplerClient<CallExtras>,
  condition: readonly number[],
  { seed, sampling }: Pick<GenerationRequest, 'seed' | 'sampling'>,
  log: TokenLog,
  options: AttemptOptions & { readonly onTokens: () => void },
): Promise<void> {
  const { signal, onTokens } = options;
  await withAttempts(async () => {
    if (log.full) return; // the replica went away after its last token
    const firstCandidate = log.firstUnfinished;
    const request = {
      conditions: [{ values: [...condition] }],
      candidates: log.candidates - firstCandidate,
      firstCandidate,
      seed: BigInt(seed),
      sampling,
      positionsPerEvent: Math.ceil(log.positions / EVENTS_PER_GRID),
    };
    for await (const { event } of sampler.sample(request, { signal, retry: false })) {
      if (event?.$case === 'started' && event.value.gridTokens !== log.positions) {
        throw new ClipGenError('unavailable', `the sampler's grids changed to ${event.value.gridTokens} tokens`);
      }
      if (event?.$case !== 'tokens') continue;
      log.append(event.value);
      onTokens();
    }
    if (!log.full) throw new ClipGenError('unavailable', 'the sampler ended before its last token');
  }, options);
}
