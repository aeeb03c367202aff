/**
 * The three contracts without models, on one port, as a process: each answer has the size that a model's would have and
 * costs nothing to compute. What remains is the way. Started by the serving benches: GRID_TOKENS, a square.
 */
import {
  ClipEmbeddingDefinition,
  ImageFormat,
  TokenDecoderDefinition,
  tokenBlock,
  TransformerSamplerDefinition,
  type ClipEmbeddingServiceImplementation,
  type SamplingOptions,
  type TokenDecoderServiceImplementation,
  type TransformerSamplerServiceImplementation,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { RandomStream } from '@clip-gen/rng';
import { serve, startServer } from '@clip-gen/serving';
import { createLogger } from '@clip-gen/telemetry';

/** As the emoji model has them. */
const EMBEDDING_SIZE = 256;
const CODEBOOK_SIZE = 2048;
const PIXELS_PER_TOKEN = 8;
const MAX_CANDIDATES = 256;

const gridTokens = Number(process.argv[2]);
const gridSide = Math.sqrt(gridTokens);
if (!Number.isInteger(gridSide) || gridSide < 1)
  throw new Error('modelless-services.ts needs a square number of tokens');
const imageSide = gridSide * PIXELS_PER_TOKEN;
const weightsSha256 = '0'.repeat(64);

const random = new RandomStream(1);
const tokens = Array.from({ length: MAX_CANDIDATES }, () => Math.floor(random.uniform() * CODEBOOK_SIZE));
const defaults: SamplingOptions = { temperature: 1, topK: 500, topP: 0.95, guidance: 1 };
const embedding = { values: new Array<number>(EMBEDDING_SIZE).fill(Math.sqrt(1 / EMBEDDING_SIZE)) };
const image = {
  format: ImageFormat.IMAGE_FORMAT_RGB8,
  width: imageSide,
  height: imageSide,
  data: new Uint8Array(3 * imageSide ** 2),
};

const clipEmbedding: ClipEmbeddingServiceImplementation = {
  embedText: ({ texts }) => Promise.resolve({ embeddings: texts.map(() => embedding) }),
  embedImage: ({ images }) => Promise.resolve({ embeddings: images.map(() => embedding) }),
  getModel: () =>
    Promise.resolve({ weightsSha256, embeddingSize: EMBEDDING_SIZE, contextLength: 77, imageSize: imageSide }),
};

const sampler: TransformerSamplerServiceImplementation = {
  async *sample({ candidates, firstCandidate, positionsPerEvent }) {
    yield { event: { $case: 'started', value: { gridTokens, codebookSize: CODEBOOK_SIZE, sampling: defaults } } };
    const step = positionsPerEvent || 1;
    for (let position = 0; position < gridTokens; position += step) {
      const positions = Math.min(step, gridTokens - position);
      const drawn = Array.from({ length: positions }, () => tokens.slice(0, candidates)).flat();
      yield { event: { $case: 'tokens', value: { condition: 0, firstCandidate, position, positions, tokens: drawn } } };
    }
    yield { event: { $case: 'finished', value: { tokens: candidates * gridTokens } } };
  },
  getSampler: () =>
    Promise.resolve({
      weightsSha256,
      conditionSize: EMBEDDING_SIZE,
      gridTokens,
      codebookSize: CODEBOOK_SIZE,
      defaults,
      defaultCandidates: 16,
    }),
};

const decoder: TokenDecoderServiceImplementation = {
  async *decode(requests) {
    for await (const { message } of requests) {
      if (message?.$case !== 'tokens') continue;
      const { firstCandidate, position } = message.value;
      const { positions, candidates } = tokenBlock(message.value);
      if (position + positions < gridTokens) continue;
      for (let i = 0; i < candidates; i++) yield { candidate: firstCandidate + i, image };
    }
  },
  encode: () => Promise.reject(new ClipGenError('unimplemented', 'there is no encoder here')),
  getDecoder: () =>
    Promise.resolve({
      ...{ name: 'none', weightsSha256, canEncode: false, codebookSize: CODEBOOK_SIZE },
      ...{ gridHeight: gridSide, gridWidth: gridSide, imageHeight: imageSide, imageWidth: imageSide },
    }),
};

const logger = createLogger({ service: 'modelless' });
const server = await startServer({
  name: 'modelless',
  address: '127.0.0.1:0',
  services: [
    serve(ClipEmbeddingDefinition, clipEmbedding),
    serve(TransformerSamplerDefinition, sampler),
    serve(TokenDecoderDefinition, decoder),
  ],
  logger,
});
server.setServing(true);
logger.info({ port: server.port }, 'serving');
process.once('SIGTERM', () => void server.close());
