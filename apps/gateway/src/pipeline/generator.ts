import { setTimeout as sleep } from 'node:timers/promises';
import { ClipGenError } from '@clip-gen/errors';
import type { WorkQueue } from '@clip-gen/serving';
import type { RgbImage } from '@clip-gen/image';
import { currentRequestId, withRequestId, type Logger } from '@clip-gen/telemetry';
import type { GatewayMetrics } from '../gateway-metrics.ts';
import { candidatesOf, type GenerationRequest } from '../generation-request.ts';
import type { Peers } from '../peers/peers.ts';
import { encodePicture } from '../picture-encoding.ts';
import { allOrNone } from './all-or-none.ts';
import { blame } from './blame.ts';
import { decodePictures, type CandidateRange } from './decode-pictures.ts';
import { EventChannel } from './event-channel.ts';
import type { GenerationEvent } from './generation-event.ts';
import { PictureJudge } from './picture-judge.ts';
import { sampleTokens } from './sample-tokens.ts';
import { TokenLog } from './token-log.ts';

/** Between two reports of progress at least, but for the last: an eye sees no more, and each costs. */
const PROGRESS_MS = 50;
/** How long finished pictures wait for partial ones of a decoder that the request has not named. */
const PARTIALS_GRACE_MS = 2000;

export interface GeneratorOptions {
  readonly peers: Peers;
  /** Bounds what is worked on and what waits. */
  readonly queue: WorkQueue;
  /** How often a stage is begun. */
  readonly attempts: number;
  /** Pictures of one EmbedImage call. */
  readonly judgeBatch: number;
  /** How many are drawn when a request does not say, 0 for what the sampler says; and at most. */
  readonly candidates: { readonly usual: number; readonly most: number };
  /** From arrival to the last picture. */
  readonly timeoutMs: number;
  readonly metrics: GatewayMetrics;
  readonly logger: Logger;
}

/**
 * The order of calls behind both doors (Wang et al., arXiv 2203.00386): the prompt's embedding, then at the same time
 * the sampler drawing candidates, the decoder turning each into a picture as soon as its tokens are there, and CLIP
 * judging each picture as it comes; the best are encoded and sent.
 */
export class Generator {
  readonly #running = new Set<AbortController>();

  constructor(private readonly options: GeneratorOptions) {}

  /**
   * Runs a request. Its events are those of {@link GenerationEvent}; work starts with the first `next()` and ends with
   * the last event, with an error, when `signal` aborts or when the reader leaves, and then nothing of it goes on.
   *
   * @throws invalid_argument for a prompt that the embedding service refuses; resource_exhausted when too much waits;
   * unavailable while a service is away; deadline_exceeded; cancelled
   */
  async *generate(request: GenerationRequest, signal: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    const startedMs = performance.now();
    const { timeoutMs, queue } = this.options;
    const channel = new EventChannel();
    const control = new AbortController();
    const cancel = (): void => control.abort(new ClipGenError('cancelled', 'the client has gone'));
    // Until all is read: pictures do not wait for ever for a reader who has stopped.
    const timer = setTimeout(() => {
      const late = new ClipGenError('deadline_exceeded', `the request took longer than ${timeoutMs} ms`);
      control.abort(late);
      channel.drop(late);
    }, timeoutMs).unref(); // a reader who never began leaves it behind
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel);
    this.#running.add(control);
    const id = currentRequestId(); // the queue may begin the work from the end of another request's
    const work = queue
      .run(control.signal, () => withRequestId(id, () => this.#work(request, control, channel, startedMs)))
      .then(
        () => channel.end(),
        (error: unknown) => channel.end({ error: control.signal.aborted ? control.signal.reason : error }),
      )
      .finally(() => {
        signal.removeEventListener('abort', cancel);
        this.#running.delete(control);
      });
    try {
      yield* channel.read();
    } finally {
      clearTimeout(timer);
      cancel();
      await work;
    }
  }

  /** Ends all that runs and waits with `unavailable`: the process is about to end. */
  abortAll(): void {
    for (const control of this.#running) {
      control.abort(new ClipGenError('unavailable', 'the gateway is shutting down; try again'));
    }
  }

  async #work(
    request: GenerationRequest,
    control: AbortController,
    channel: EventChannel,
    startedMs: number,
  ): Promise<void> {
    const { peers, attempts, judgeBatch, metrics, logger } = this.options;
    const { prompt, pictures, seed, partials, encoding } = request;
    const partialsBy = request.partialDecoder ?? peers.partialDecoderOf(request.decoder);
    const { signal } = control;
    const since = (): number => performance.now() - startedMs;
    metrics.reached('begun', since());
    const { embedding, sampler, decoder, partialDecoder, grid, defaultCandidates } = await peers.pipeline(
      request.decoder,
      partials > 0 ? partialsBy : undefined,
    );
    const { usual, most } = this.options.candidates;
    const candidates = candidatesOf(request, usual || defaultCandidates, most);
    const { embeddings } = await blame(
      'embedding',
      embedding.embedText({ texts: [prompt] }, { signal }),
      () => 'prompt',
    );
    const condition = embeddings[0]?.values ?? [];
    channel.push({ kind: 'accepted', seed, candidates });

    const log = new TokenLog(candidates, grid.tokens, grid.codebookSize);
    let judged = 0;
    let toldMs = -Infinity;
    const progress = (): void => {
      if (since() - toldMs < PROGRESS_MS && judged < candidates) return;
      toldMs = since();
      const done = { tokens: log.drawn, tokensTotal: log.total, images: judged, imagesTotal: candidates };
      channel.push({ kind: 'progress', ...done });
    };
    const judge = new PictureJudge(embedding, condition, {
      keep: pictures,
      batch: judgeBatch,
      signal,
      onJudged: (done) => {
        judged = done;
        progress();
      },
    });
    const trying = (stage: string) => ({
      attempts,
      signal,
      onRetry: (error: ClipGenError): void => {
        metrics.retried(stage);
        logger.warn({ stage, error: error.message, drawn: log.drawn, judged }, 'a replica went away: going on');
      },
    });
    const sampling = sampleTokens(sampler, condition, request, log, { ...trying('sampler'), onTokens: progress });
    const handlers = {
      ...trying('decoder'),
      onPartial: async (index: number, image: RgbImage): Promise<void> => {
        if (index === 0) metrics.reached('first_partial', since());
        channel.push({ kind: 'partial', index, picture: await encodePicture(image, encoding) });
      },
      onPicture: (candidate: number, image: RgbImage) => blame('embedding', judge.add(candidate, image)),
    };
    const apart = partials > 0 && partialsBy !== request.decoder;
    const decodings = rangesOf(candidates, apart ? 0 : partials).map((range) =>
      blame(`decoder ${request.decoder}`, decodePictures(decoder, range, log, handlers)),
    );
    const stages = [blame('sampler', sampling).then(() => metrics.reached('sampled', since())), ...decodings];
    if (apart) {
      const range = { first: 0, count: 1, partials };
      const unseen = { ...handlers, onPicture: () => Promise.resolve() }; // the full grid's picture is the other's part
      const decode = (end: AbortSignal): Promise<void> =>
        blame(`decoder ${partialsBy}`, decodePictures(partialDecoder, range, log, { ...unseen, signal: end }));
      const named = request.partialDecoder !== undefined;
      stages.push(named ? decode(signal) : this.#spare(decode, stages.slice(), signal, partialsBy));
    }
    await allOrNone(stages, (error) => control.abort(error));
    const best = await blame('embedding', judge.finish());
    for (const [rank, { item, score, candidate }] of best.entries()) {
      channel.push({ kind: 'picture', rank, score, candidate, picture: await encodePicture(item, encoding) });
    }
    metrics.reached('finished', since());
    channel.push({ kind: 'finished', totalMs: since(), tokens: log.drawn });
  }

  /**
   * Partial pictures of a decoder that nobody has asked for: the request goes on without them when it fails, or takes
   * longer than all the rest.
   */
  async #spare(
    decode: (signal: AbortSignal) => Promise<void>,
    rest: readonly Promise<unknown>[],
    signal: AbortSignal,
    decoder: string,
  ): Promise<void> {
    const [late, over] = [new AbortController(), new AbortController()];
    void Promise.allSettled(rest)
      .then(() => sleep(PARTIALS_GRACE_MS, undefined, { signal: over.signal }))
      .then(
        () => late.abort(new ClipGenError('deadline_exceeded', 'the pictures are done')),
        () => undefined, // `decode` has ended in time
      );
    try {
      await decode(AbortSignal.any([signal, late.signal]));
    } catch (error) {
      if (signal.aborted) throw error;
      const err: unknown = late.signal.aborted ? late.signal.reason : error;
      this.options.logger.warn({ decoder, err }, 'no more partial pictures');
    } finally {
      over.abort();
    }
  }
}

/** Partial pictures are of the first candidate alone, so it is decoded in a call of its own when its decoder makes them. */
function rangesOf(candidates: number, partials: number): CandidateRange[] {
  if (partials === 0 || candidates === 1) return [{ first: 0, count: candidates, partials }];
  return [
    { first: 0, count: 1, partials },
    { first: 1, count: candidates - 1, partials: 0 },
  ];
}
