import { ImageFormat, type ClipEmbeddingClient } from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import type { RgbImage } from '@clip-gen/image';
import { Best, cosine, type Judged } from './ranking.ts';

/** Bytes of pixels in one call: well within the 4 MiB that gRPC servers take by default. */
const MAX_BATCH_BYTES = 2 * 2 ** 20;
/** Pictures that wait at most, in batches; then the decoder waits. */
const WAITING_BATCHES = 4;

export interface JudgeOptions {
  /** Pictures to keep. */
  readonly keep: number;
  /** Pictures of one call at most. */
  readonly batch: number;
  readonly signal: AbortSignal;
  /** Told how many were judged so far. */
  readonly onJudged: (judged: number) => void;
}

/**
 * Judges pictures as they arrive, by the cosine of their CLIP embeddings with the prompt's: one call at a time, with
 * all that came meanwhile up to a batch. Of the pixels only the best are kept.
 */
export class PictureJudge {
  readonly #waiting: { candidate: number; image: RgbImage }[] = [];
  readonly #best: Best<RgbImage>;
  #judged = 0;
  /** Never rejects; stays set after a failure. */
  #work: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** @param prompt the prompt's unit embedding (E) */
  constructor(
    private readonly embedding: ClipEmbeddingClient,
    private readonly prompt: readonly number[],
    private readonly options: JudgeOptions,
  ) {
    this.#best = new Best(options.keep);
  }

  /** Takes a picture; resolves when there is room for another. @throws what judging threw */
  async add(candidate: number, image: RgbImage): Promise<void> {
    if (this.#failure) throw this.#failure.error;
    this.#waiting.push({ candidate, image });
    this.#work ??= this.#judge().catch((error: unknown) => {
      this.#failure = { error };
    });
    if (this.#waiting.length >= WAITING_BATCHES * this.options.batch) await this.#work;
  }

  /** When all that was added is judged: the best, best first. @throws what judging threw */
  async finish(): Promise<readonly Judged<RgbImage>[]> {
    await this.#work;
    if (this.#failure) throw this.#failure.error;
    return this.#best.kept;
  }

  /** Until nothing waits. */
  async #judge(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      const images = batch.map(({ image: { width, height, data } }) => {
        return { format: ImageFormat.IMAGE_FORMAT_RGB8, width, height, data };
      });
      const { embeddings } = await this.embedding.embedImage({ images }, { signal: this.options.signal });
      batch.forEach(({ candidate, image }, i) => {
        const { values = [] } = embeddings[i] ?? {};
        if (values.length !== this.prompt.length) {
          throw new ClipGenError('internal', `the embedding of a picture has ${values.length} numbers`);
        }
        const score = cosine(this.prompt, values);
        if (Number.isNaN(score)) throw new ClipGenError('internal', 'the embedding of a picture is no vector');
        this.#best.add({ item: image, score, candidate });
      });
      this.#judged += batch.length;
      this.options.onJudged(this.#judged);
    }
    this.#work = undefined;
  }

  #take(): { candidate: number; image: RgbImage }[] {
    let [count, bytes] = [0, 0];
    for (const { image } of this.#waiting.slice(0, this.options.batch)) {
      bytes += image.data.length;
      if (count > 0 && bytes > MAX_BATCH_BYTES) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }
}
