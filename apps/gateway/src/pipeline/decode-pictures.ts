import { ClipGenError } from '@clip-gen/errors';
import { ImageFormat, type DecodeRequest, type Image, type TokenDecoderClient } from '@clip-gen/contracts';
import type { RgbImage } from '@clip-gen/image';
import { withAttempts, type AttemptOptions } from './attempts.ts';
import type { TokenLog } from './token-log.ts';

/** Which candidates one decoding is for. */
export interface CandidateRange {
  readonly first: number;
  readonly count: number;
  /** Partial pictures of each. */
  readonly partials: number;
}

export interface DecodeHandlers {
  /** Each index once, rising. */
  readonly onPartial: (index: number, image: RgbImage) => Promise<void>;
  /** Each candidate once, in the order of arrival. No more is read from the decoder until it resolves. */
  readonly onPicture: (candidate: number, image: RgbImage) => Promise<void>;
}

/**
 * Relays the log's tokens to a decoder as they are drawn and hands on its pictures, RGB8. When a replica goes away,
 * another one gets the tokens again from the beginning, of what is not finished.
 */
export async function decodePictures(
  decoder: TokenDecoderClient,
  { first, count, partials }: CandidateRange,
  log: TokenLog,
  options: AttemptOptions & DecodeHandlers,
): Promise<void> {
  const { signal, onPartial, onPicture } = options;
  const missing = new Set(Array.from({ length: count }, (_, i) => first + i));
  let partialsSent = 0;
  await withAttempts(async () => {
    if (missing.size === 0) return; // the replica went away after its last picture
    const from = Math.min(...missing);
    const rest = { first: from, count: first + count - from, partials };
    const left = new AbortController(); // the relay must not wait for tokens when the decoder or the client has gone
    const leave = (): void => left.abort();
    signal.addEventListener('abort', leave);
    try {
      for await (const { candidate, partial, image } of decoder.decode(relay(rest, log, left.signal), { signal })) {
        if (partial) {
          if (candidate !== first || partial.index < partialsSent) continue;
          partialsSent = partial.index + 1;
          await onPartial(partial.index, checkPicture(image));
        } else if (missing.delete(candidate)) {
          await onPicture(candidate, checkPicture(image));
        }
      }
    } finally {
      signal.removeEventListener('abort', leave);
      leave();
    }
    if (missing.size > 0) throw new ClipGenError('unavailable', 'the decoder ended before its last picture');
  }, options);
}

async function* relay(range: CandidateRange, log: TokenLog, signal: AbortSignal): AsyncGenerator<DecodeRequest> {
  const { first, count, partials } = range;
  yield {
    message: {
      $case: 'options',
      value: {
        candidates: count,
        firstCandidate: first,
        conditions: 1,
        partialImages: partials,
        format: ImageFormat.IMAGE_FORMAT_RGB8,
      },
    },
  };
  // Only partial pictures need tokens before their grid is full.
  for await (const block of log.read(first, count, signal, partials > 0 ? 1 : log.positions)) {
    yield { message: { $case: 'tokens', value: { condition: 0, ...block } } };
  }
}

function checkPicture(image: Image | undefined): RgbImage {
  const { format, width = 0, height = 0, data = new Uint8Array() } = image ?? {};
  if (format !== ImageFormat.IMAGE_FORMAT_RGB8 || width === 0 || data.length !== width * height * 3) {
    throw new ClipGenError('internal', `the decoder sent ${data.length} bytes for an RGB8 picture ${width}x${height}`);
  }
  return { width, height, data };
}
