import { createHash } from 'node:crypto';
import {
  ClipEmbeddingDefinition,
  ImageFormat,
  TokenDecoderDefinition,
  tokenBlock,
  TransformerSamplerDefinition,
  type ClipEmbeddingServiceImplementation,
  type DecodeResponse,
  type DeepPartial,
  type TokenDecoderServiceImplementation,
  type TransformerSamplerServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { serve, startServer, type GrpcServer, type ServerTls } from '@clip-gen/serving';
import { createLogger, Metrics } from '@clip-gen/telemetry';

// Real servers of the three contracts for tests, with hashes in the place of models: what they answer is a function of
// what they are asked, as the contracts demand, and takes no time unless a test says so.

/** Of the stand-in models. */
export const STAND_IN = { embeddingSize: 8, gridSide: 4, gridTokens: 16, codebookSize: 32, imageSide: 8, maxWords: 20 };

/** What a test does to a server and reads from it. */
export class Switches {
  /**
   * Awaited before each unit of work: a sampler's position, a decoder's picture, an embedder's call; with their number
   * also when a stream has sent them all, before its end.
   */
  before: (unit: number) => void | Promise<void> = () => undefined;
  /** Calls that have begun, and of those the ones whose caller went away. */
  calls = 0;
  cancelled = 0;
  running = 0;
  /** Request ids that came with the calls. */
  readonly requestIds = new Set<string>();
}

export interface StandIn {
  readonly server: GrpcServer;
  readonly address: string;
  readonly switches: Switches;
}

/** What all of them take. */
export interface StandInOptions {
  readonly tls?: ServerTls;
}

/** @param at `127.0.0.1:0` unless the port of a server that was closed is to be taken again */
export function standInEmbedding(at?: string, { tls }: StandInOptions = {}): Promise<StandIn> {
  const switches = new Switches();
  const service: ClipEmbeddingServiceImplementation = {
    embedText: async ({ texts }, context) =>
      tracked(switches, context, async () => {
        await switches.before(0);
        for (const [i, text] of texts.entries()) {
          const words = text.split(/\s+/).length;
          if (words > STAND_IN.maxWords) {
            throw invalidArgument(`texts[${i}]`, `at most ${STAND_IN.maxWords} tokens long`, words);
          }
        }
        return { embeddings: texts.map((text) => ({ values: unitVector(text) })) };
      }),
    embedImage: async ({ images }, context) =>
      tracked(switches, context, async () => {
        await switches.before(images.length);
        return { embeddings: images.map(({ data }) => ({ values: unitVector(data) })) };
      }),
    getModel: async () => ({
      weightsSha256: '00',
      embeddingSize: STAND_IN.embeddingSize,
      contextLength: STAND_IN.maxWords + 2,
      imageSize: STAND_IN.imageSide,
    }),
  };
  return listen('clip-embedding', serve(ClipEmbeddingDefinition, service), switches, { at, tls });
}

/** @param codebookSize what it says and draws from; another than the decoder's for tests of misfits */
export function standInSampler(
  at?: string,
  { codebookSize = STAND_IN.codebookSize, tls }: StandInOptions & { codebookSize?: number } = {},
): Promise<StandIn> {
  const switches = new Switches();
  const { gridTokens, embeddingSize } = STAND_IN;
  const service: TransformerSamplerServiceImplementation = {
    async *sample({ conditions, candidates, firstCandidate, seed, sampling }, context) {
      const leave = enter(switches, context);
      try {
        yield { event: { $case: 'started', value: { gridTokens, codebookSize, sampling } } };
        for (let position = 0; position < gridTokens; position++) {
          await switches.before(position);
          if (context.signal.aborted) throw new ClipGenError('cancelled', 'the caller has gone');
          const tokens = Array.from({ length: candidates }, (_, i) => {
            const name = [seed, firstCandidate + i, position, conditions[0]?.values[0], JSON.stringify(sampling)];
            return digest(name.join('/')).readUInt32LE(0) % codebookSize;
          });
          yield { event: { $case: 'tokens', value: { condition: 0, firstCandidate, position, tokens } } };
        }
        await switches.before(gridTokens);
        yield { event: { $case: 'finished', value: { tokens: candidates * gridTokens } } };
      } finally {
        leave();
      }
    },
    getSampler: async () => ({ weightsSha256: '00', conditionSize: embeddingSize, gridTokens, codebookSize }),
  };
  return listen('transformer-sampler', serve(TransformerSamplerDefinition, service), switches, { at, tls });
}

/** @param tint added to the pictures, so that decoders of several names differ */
export function standInDecoder(
  at?: string,
  { tint = 0, tls }: StandInOptions & { tint?: number } = {},
): Promise<StandIn> {
  const switches = new Switches();
  const { gridSide, gridTokens, codebookSize, imageSide } = STAND_IN;
  const service: TokenDecoderServiceImplementation = {
    async *decode(requests, context) {
      const leave = enter(switches, context);
      try {
        const grids = new Map<number, number[]>();
        let partialImages = 0;
        let pictures = 0;
        for await (const { message } of requests) {
          if (message?.$case === 'options') ({ partialImages } = message.value);
          if (message?.$case !== 'tokens') continue;
          const { candidates } = tokenBlock(message.value);
          for (const [i, token] of message.value.tokens.entries()) {
            const candidate = message.value.firstCandidate + (i % candidates);
            const position = message.value.position + Math.floor(i / candidates);
            const grid = grids.get(candidate) ?? [];
            grids.set(candidate, grid);
            if (grid.push(token) !== position + 1) throw invalidArgument('position', 'rising', grid.length);
            const due = Array.from({ length: partialImages }, (_, k) =>
              Math.floor(((k + 1) * gridTokens) / (partialImages + 1)),
            );
            if (grid.length === gridTokens) {
              await switches.before(pictures++);
              yield { candidate, image: pictureOf(grid) };
            } else if (due.includes(grid.length)) {
              yield {
                candidate,
                partial: { index: due.indexOf(grid.length), positions: grid.length },
                image: pictureOf(grid),
              };
            }
          }
        }
        await switches.before(pictures);
      } finally {
        leave();
      }
    },
    encode: async () => {
      throw new ClipGenError('unimplemented', 'this decoder has no encoder');
    },
    getDecoder: async () => ({
      name: 'stand-in',
      weightsSha256: '00',
      gridHeight: gridSide,
      gridWidth: gridSide,
      codebookSize,
      imageHeight: imageSide,
      imageWidth: imageSide,
    }),
  };
  const pictureOf = (grid: readonly number[]): DeepPartial<DecodeResponse>['image'] => {
    const data = new Uint8Array(imageSide * imageSide * 3);
    const cell = imageSide / gridSide;
    for (let i = 0; i < imageSide * imageSide; i++) {
      const place = Math.floor(i / imageSide / cell) * gridSide + Math.floor((i % imageSide) / cell);
      const token = grid[place] ?? grid.at(-1) ?? 0;
      data.set([token * 8, 255 - token * 8, (place * 16 + tint) % 256], i * 3);
    }
    return { format: ImageFormat.IMAGE_FORMAT_RGB8, width: imageSide, height: imageSide, data };
  };
  return listen('token-decoder', serve(TokenDecoderDefinition, service), switches, { at, tls });
}

type Served = Parameters<typeof startServer>[0]['services'][number];

async function listen(
  name: string,
  service: Served,
  switches: Switches,
  { at = '127.0.0.1:0', tls }: StandInOptions & { at?: string },
): Promise<StandIn> {
  const server = await startServer({
    name,
    address: at,
    services: [service],
    maxReceiveBytes: 4 << 20,
    logger: createLogger({ service: name, level: 'silent', format: 'json' }),
    metrics: new Metrics(),
    ...(tls && { tls }),
  });
  server.setServing(true);
  return { server, address: `127.0.0.1:${server.port}`, switches };
}

type Context = Parameters<ClipEmbeddingServiceImplementation['getModel']>[1];

/** Notes a call's beginning; returns what notes its end. */
function enter(switches: Switches, { signal, metadata }: Context): () => void {
  switches.calls++;
  switches.running++;
  const requestId = metadata.get('x-request-id');
  if (requestId !== undefined) switches.requestIds.add(requestId);
  return () => {
    switches.running--;
    if (signal.aborted) switches.cancelled++;
  };
}

async function tracked<T>(switches: Switches, context: Context, work: () => Promise<T>): Promise<T> {
  const leave = enter(switches, context);
  try {
    return await work();
  } finally {
    leave();
  }
}

function digest(of: string | Uint8Array): Buffer {
  return createHash('sha256').update(of).digest();
}

/** A direction that depends on nothing but its input, rounded to float32 as on the wire. */
function unitVector(of: string | Uint8Array): number[] {
  const values = [...digest(of).subarray(0, STAND_IN.embeddingSize)].map((byte) => byte - 127.5);
  const length = Math.hypot(...values);
  return values.map((value) => Math.fround(value / length));
}
