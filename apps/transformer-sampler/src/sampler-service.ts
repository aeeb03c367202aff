import type {
  SampleResponse,
  SamplingOptions,
  TokenEvent,
  TransformerSamplerServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import type { TokenSampler } from '@clip-gen/generation';
import type { WorkQueue } from '@clip-gen/serving';
import { EventBuffer, type EventBufferOptions } from './event-buffer.ts';
import {
  readSampleRequest,
  type ReadSampleRequest,
  type SampleLimits,
  type SamplingDefaults,
} from './sample-request.ts';
import type { SamplerMetrics } from './sampler-metrics.ts';

/** What the service works with. */
export interface SamplerServiceParts {
  readonly sampler: TokenSampler;
  /** Of the sampler's weights. */
  readonly weightsSha256: string;
  readonly defaults: SamplingDefaults;
  /** What the model says of the number of candidates; for callers who have none of their own. */
  readonly defaultCandidates: number;
  readonly limits: SampleLimits;
  readonly buffer: EventBufferOptions;
  /** Whose turn it is. */
  readonly queue: WorkQueue;
  readonly metrics: SamplerMetrics;
}

/**
 * The `TransformerSampler` service. A call's place in the queue is its right to compute: it is given up when the last
 * token is drawn, when the caller goes, or when the caller reads too slowly for too long; the tokens that were drawn are
 * sent without it.
 */
export function samplerService(parts: SamplerServiceParts): TransformerSamplerServiceImplementation {
  const { sampler, weightsSha256, defaults, defaultCandidates, limits, queue } = parts;
  return {
    async *sample(request, { signal }) {
      const asked = readSampleRequest(request, sampler, defaults, limits);
      const arrived = performance.now();
      const stop = new AbortController();
      const hangUp = (): void => stop.abort(signal.reason);
      signal.addEventListener('abort', hangUp, { once: true });
      if (signal.aborted) hangUp();
      const buffer = new EventBuffer<SampleResponse>(parts.buffer);
      const work = queue
        .run(stop.signal, () => draw(parts, asked, buffer, { arrived, signal: stop.signal }))
        .then(
          () => buffer.end(),
          (error: unknown) => buffer.end({ error }),
        );
      try {
        yield* buffer;
      } finally {
        signal.removeEventListener('abort', hangUp);
        stop.abort(new ClipGenError('cancelled', 'the caller has gone'));
        await work;
        parts.metrics.stalled(buffer.stalledMs);
      }
    },

    getSampler() {
      const { conditionSize, tokens, vocabularySize } = sampler.part.config;
      return Promise.resolve({
        weightsSha256,
        conditionSize,
        gridTokens: tokens,
        codebookSize: vocabularySize,
        defaults,
        defaultCandidates,
      });
    },
  };
}

/** Samples one call from its first to its last token. */
async function draw(
  { sampler, metrics }: SamplerServiceParts,
  { conditions, tokens: asked, positionsPerEvent }: ReadSampleRequest,
  buffer: EventBuffer<SampleResponse>,
  { arrived, signal }: { readonly arrived: number; readonly signal: AbortSignal },
): Promise<void> {
  const begun = performance.now();
  const { tokens: gridTokens, vocabularySize: codebookSize } = sampler.part.config;
  const { temperature, topK, topP, guidance } = asked.sampling;
  const sampling: SamplingOptions = { temperature, topK, topP, guidance };
  metrics.begun(conditions.length * asked.candidates);
  buffer.push({ event: { $case: 'started', value: { gridTokens, codebookSize, sampling } } }, 0);
  const all = conditions.length * asked.candidates * gridTokens;
  let sent = 0;
  let since = begun;
  let open: TokenEvent[] = []; // of the positions since the last events, one for each group of neighbours
  for await (const steps of sampler.sampleSteps(conditions, asked, { signal })) {
    const drawn = steps.reduce((sum, { tokens }) => sum + tokens.length, 0);
    metrics.stepped(performance.now() - since, drawn);
    sent += drawn;
    steps.forEach((step, i) => {
      const event = (open[i] ??= { ...step, tokens: [], positions: 0 });
      event.tokens.push(...step.tokens);
      event.positions++;
    });
    if (open[0]?.positions === positionsPerEvent || steps[0]?.position === gridTokens - 1) {
      for (const value of open) buffer.push({ event: { $case: 'tokens', value } }, value.tokens.length);
      open = [];
    }
    if (sent < all) await buffer.room(signal); // what is drawn needs no more of the queue's time
    since = performance.now();
  }
  const finished = { tokens: sent, queuedMs: begun - arrived, sampledMs: performance.now() - begun };
  buffer.push({ event: { $case: 'finished', value: finished } }, 0);
}
