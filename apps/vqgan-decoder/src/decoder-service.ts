import {
  imageMessage,
  readImageFormat,
  readImageMessage,
  type DecodeRequest,
  type DecodeResponse,
  type ImageLayout,
  type TokenDecoderServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { checkPictureBytes, readPictureBytes, writePictureBytes, type PictureLimits } from '@clip-gen/image';
import type { WorkQueue } from '@clip-gen/serving';
import type { DecoderMetrics } from './decoder-metrics.ts';
import { GridAssembler, type DueGrid } from './grid-assembler.ts';
import type { TokenGridDecoder } from './token-grid-decoder.ts';
import { within } from './within.ts';

/** Pictures of one Encode call at most, by the contract. */
const MAX_ENCODE_IMAGES = 16;

/** What the service works with. */
export interface DecoderServiceParts {
  readonly decoder: TokenGridDecoder;
  /** Whose turn it is to compute; holds every call that the doors let in. */
  readonly queue: WorkQueue;
  /** The door for Decode streams: a place for each that is open, and nowhere to wait. */
  readonly streams: WorkQueue;
  /** The door for Encode calls. */
  readonly encodes: WorkQueue;
  readonly metrics: DecoderMetrics;
  readonly pictures: PictureLimits;
  /** Grids of one Decode call at most. */
  readonly maxGrids: number;
  /** Grids that are decoded in one turn. */
  readonly turnGrids: number;
  /** How long a Decode stream may wait for its next message. */
  readonly idleMs: number;
}

/**
 * The `TokenDecoder` service. A stream takes its turn for a few grids at a time and holds nothing while it waits for
 * tokens or for its reader; it reads its next message when the pictures of the last one are sent, which slows down
 * whoever sends tokens faster than they can be shown.
 */
export function decoderService(parts: DecoderServiceParts): TokenDecoderServiceImplementation {
  const { decoder } = parts;
  return {
    async *decode(requests, { signal }) {
      const place = await parts.streams.enter(signal);
      try {
        yield* decode(parts, within(requests, parts.idleMs, signal), signal);
      } finally {
        place.leave();
      }
    },

    async encode({ images }, { signal }) {
      const encode = decoder.encode?.bind(decoder);
      if (!encode) {
        throw new ClipGenError(
          'unimplemented',
          `decoder ${decoder.description.name} has no way from picture to tokens`,
        );
      }
      if (images.length < 1 || images.length > MAX_ENCODE_IMAGES) {
        throw invalidArgument('images', `1 to ${MAX_ENCODE_IMAGES} pictures`, images.length);
      }
      const pictures = images.map((image, i) => readImageMessage(image, `images[${i}]`));
      pictures.forEach((picture, i) => checkPictureBytes(picture, `images[${i}]`, parts.pictures));
      const place = await parts.encodes.enter(signal);
      try {
        const grids = await parts.queue.run(signal, async () => {
          const tokens: number[][] = [];
          for (const [i, picture] of pictures.entries()) {
            const image = await readPictureBytes(picture, `images[${i}]`, parts.pictures);
            const [grid] = await encode([image], { signal });
            tokens.push(Array.from(grid!));
          }
          return tokens;
        });
        parts.metrics.encoded(grids.length);
        return { grids: grids.map((tokens) => ({ tokens })) };
      } finally {
        place.leave();
      }
    },

    getDecoder() {
      const { name, weightsSha256, grid, codebookSize, image } = decoder.description;
      return Promise.resolve({
        name,
        weightsSha256,
        gridHeight: grid.height,
        gridWidth: grid.width,
        codebookSize,
        imageHeight: image.height,
        imageWidth: image.width,
        canEncode: decoder.encode !== undefined,
      });
    },
  };
}

async function* decode(
  parts: DecoderServiceParts,
  requests: AsyncIterable<DecodeRequest>,
  signal: AbortSignal,
): AsyncGenerator<DecodeResponse> {
  let assembler: GridAssembler | undefined;
  let layout: ImageLayout = 'png';
  for await (const { message } of requests) {
    if (message?.$case === 'tokens' && assembler) {
      yield* show(parts, assembler.take(message.value), layout, signal);
    } else if (message?.$case === 'options' && !assembler) {
      layout = readImageFormat(message.value.format, 'format');
      assembler = new GridAssembler(message.value, parts.decoder.description, parts.maxGrids);
    } else {
      throw invalidArgument('message', assembler ? 'tokens after options' : 'options first', message?.$case ?? 'none');
    }
  }
  if (!assembler) throw invalidArgument('message', 'options first', 'the end of the stream');
  assembler.finish();
}

/** Decodes what is due, a turn at a time, and sends each turn's pictures before the next. */
async function* show(
  { decoder, queue, metrics, turnGrids }: DecoderServiceParts,
  due: readonly DueGrid[],
  layout: ImageLayout,
  signal: AbortSignal,
): AsyncGenerator<DecodeResponse> {
  for (let from = 0; from < due.length; from += turnGrids) {
    const turn = due.slice(from, from + turnGrids);
    const since = performance.now();
    const images = await queue.run(signal, () =>
      decoder.decode(
        turn.map(({ tokens }) => tokens),
        { signal },
      ),
    );
    const pictures = await Promise.all(images.map((image) => writePictureBytes(image, layout)));
    const ms = (performance.now() - since) / turn.length;
    for (const [i, { condition, candidate, partial }] of turn.entries()) {
      metrics.decoded(partial ? 'partial' : 'final', ms);
      yield { condition, candidate, partial, image: imageMessage(pictures[i]!) };
    }
  }
}
