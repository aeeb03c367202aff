import { readImageMessage, type ClipEmbeddingServiceImplementation, type EmbedTextResponse } from '@clip-gen/contracts';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { tokenizePrompt, type ImageEncoder, type TextEncoder } from '@clip-gen/generation';
import { checkPictureBytes, fitSquare, readPictureBytes, type PictureLimits, type RgbImage } from '@clip-gen/image';
import type { WorkQueue } from '@clip-gen/serving';
import type { EmbeddingMetrics } from './embedding-metrics.ts';

/** Bounds of one call. */
export interface EmbeddingLimits {
  readonly maxTexts: number;
  readonly maxTextCharacters: number;
  readonly maxImages: number;
  readonly pictures: PictureLimits;
}

/** What the service works with. */
export interface EmbeddingServiceParts {
  readonly textEncoder: TextEncoder;
  readonly imageEncoder: ImageEncoder;
  /** Of CLIP's weights. */
  readonly weightsSha256: string;
  readonly limits: EmbeddingLimits;
  /** Whose turn it is. */
  readonly queue: WorkQueue;
  readonly metrics: EmbeddingMetrics;
}

/**
 * The `ClipEmbedding` service. A call's texts or pictures go through the network together; each gets the embedding that it
 * gets alone. Texts are tokenised, and pictures held against their limits, before a call may wait for its turn.
 */
export function embeddingService(parts: EmbeddingServiceParts): ClipEmbeddingServiceImplementation {
  const { textEncoder, imageEncoder, weightsSha256, limits, queue, metrics } = parts;
  return {
    async embedText({ texts }, { signal }) {
      checkCount('texts', texts.length, limits.maxTexts, 'texts');
      texts.forEach((text, i) => checkLength(text, `texts[${i}]`, limits.maxTextCharacters));
      const rows = texts.map((text, i) => tokenizePrompt(textEncoder.part, text, `texts[${i}]`));
      return queue.run(signal, async () => {
        const since = performance.now();
        const vectors = await textEncoder.encodeTokens(rows, { signal });
        metrics.embedded('text', vectors.length, performance.now() - since);
        return answer(vectors);
      });
    },

    async embedImage({ images }, { signal }) {
      checkCount('images', images.length, limits.maxImages, 'pictures');
      const pictures = images.map((image, i) => readImageMessage(image, `images[${i}]`));
      pictures.forEach((picture, i) => checkPictureBytes(picture, `images[${i}]`, limits.pictures));
      return queue.run(signal, async () => {
        const since = performance.now();
        const squares: RgbImage[] = [];
        // One large picture in memory at a time: what stays of it is the small square.
        for (const [i, picture] of pictures.entries()) {
          if (signal.aborted) throw new ClipGenError('cancelled', 'the caller has gone', { cause: signal.reason });
          const image = await readPictureBytes(picture, `images[${i}]`, limits.pictures);
          squares.push(await fitSquare(image, imageEncoder.part.config.vision.imageSize));
        }
        const vectors = await imageEncoder.encode(squares, { signal });
        metrics.embedded('image', vectors.length, performance.now() - since);
        return answer(vectors);
      });
    },

    getModel() {
      const { embeddingSize, text, vision } = textEncoder.part.config;
      const { contextLength } = text;
      return Promise.resolve({ weightsSha256, embeddingSize, contextLength, imageSize: vision.imageSize });
    },
  };
}

function answer(vectors: readonly Float32Array[]): EmbedTextResponse {
  return { embeddings: vectors.map((vector) => ({ values: Array.from(vector) })) };
}

function checkCount(name: string, count: number, most: number, what: string): void {
  if (count < 1 || count > most) throw invalidArgument(name, `1 to ${most} ${what}`, count);
}

/** A character is a code point; of a text that is far too long only the beginning is looked at. */
function checkLength(text: string, name: string, most: number): void {
  const count = [...text.slice(0, 2 * (most + 1))].length;
  if (count < 1 || count > most) throw invalidArgument(name, `1 to ${most} characters long`, count < 1 ? 0 : 'more');
}
