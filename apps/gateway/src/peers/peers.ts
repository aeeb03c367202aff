import {
  ClipEmbeddingDefinition,
  TokenDecoderDefinition,
  TransformerSamplerDefinition,
  type ClipEmbeddingClient,
  type GetDecoderResponse,
  type GetModelResponse,
  type GetSamplerResponse,
  type TokenDecoderClient,
  type TransformerSamplerClient,
} from '@clip-gen/contracts';
import { ClipGenError } from '@clip-gen/errors';
import { connect, type CallExtras, type ClientTls, type Connection, type ConnectionOptions } from '@clip-gen/serving';
import type { Logger, Metrics } from '@clip-gen/telemetry';
import { decoderAddresses, type GatewaySettings } from '../config.ts';
import { FALLBACK_CANDIDATES } from '../generation-request.ts';
import { Peer } from './peer.ts';

type Embedding = ClipEmbeddingClient<CallExtras>;
type Sampler = TransformerSamplerClient<CallExtras>;
type TokenDecoder = TokenDecoderClient<CallExtras>;

/** A question about presence is answered soon, or asked again later. */
const PROBE: CallExtras = { deadlineMs: 2000, retry: false };

/** Name of the decoder that makes quick pictures of the default one's. */
const PREVIEW = 'preview';

/** What one request goes through. */
export interface Pipeline {
  readonly embedding: Embedding;
  readonly sampler: Sampler;
  readonly decoder: TokenDecoder;
  /** Of the partial pictures; may be the same. */
  readonly partialDecoder: TokenDecoder;
  /** What sampler and decoder agree on. */
  readonly grid: { readonly tokens: number; readonly codebookSize: number };
  /** Candidates that the sampler's model is best drawn with; of a request that does not say. */
  readonly defaultCandidates: number;
}

interface Decoder {
  readonly connection: Connection<TokenDecoder>;
  readonly peer: Peer<GetDecoderResponse>;
}

/** What the connections work with. */
export interface PeersParts {
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Told when a service comes or goes. */
  readonly onChange: () => void;
  /** Default: none. */
  readonly tls?: ClientTls;
  /** Addresses that are called without it. */
  readonly inProcess?: readonly string[];
}

/** The services behind the gateway: connections that stay, and a watch on who is there. */
export class Peers {
  readonly #embedding: Connection<Embedding>;
  readonly #model: Peer<GetModelResponse>;
  readonly #sampler: Connection<Sampler>;
  readonly #samplerPeer: Peer<GetSamplerResponse>;
  readonly #decoders: ReadonlyMap<string, Decoder>;
  readonly #timer: NodeJS.Timeout;

  /** Connects and begins to watch; services need not be there yet. @throws invalid_argument for what is no PEM */
  constructor(settings: GatewaySettings, { logger, metrics, onChange, tls, inProcess = [] }: PeersParts) {
    const common = {
      logger,
      metrics,
      retry: { attempts: settings.attempts },
      deadlineMs: settings.requestTimeoutMs,
      // A picture of the largest side as RGB8, and some.
      maxReceiveBytes: 3 * 4096 ** 2 + 65_536,
    };
    const called = (name: string, addresses: readonly string[]): ConnectionOptions => {
      const outside = addresses.some((at) => !inProcess.includes(at));
      return { ...common, name, addresses, ...(tls && outside && { tls }) };
    };
    const watched = { onChange, logger };
    const embedding = connect(ClipEmbeddingDefinition, called('embedding', settings.embedding));
    this.#embedding = embedding;
    this.#model = new Peer({
      ...watched,
      name: 'embedding',
      probe: () => embedding.client.getModel({}, PROBE),
    });
    const sampler = connect(TransformerSamplerDefinition, called('sampler', settings.sampler));
    this.#sampler = sampler;
    this.#samplerPeer = new Peer({
      ...watched,
      name: 'sampler',
      probe: () => sampler.client.getSampler({}, PROBE),
    });
    const decoders = new Map<string, Decoder>();
    for (const [id, addresses] of decoderAddresses(settings.decoders)) {
      const name = `decoder ${id}`;
      const connection = connect(TokenDecoderDefinition, called(name, addresses));
      const probe = (): Promise<GetDecoderResponse> => connection.client.getDecoder({}, PROBE);
      decoders.set(id, { connection, peer: new Peer({ ...watched, name, probe }) });
    }
    this.#decoders = decoders;
    void this.ask();
    this.#timer = setInterval(() => void this.ask(), settings.probeMs);
    this.#timer.unref();
  }

  /** Names of the decoders, the default first. */
  get decoderNames(): readonly string[] {
    return [...this.#decoders.keys()];
  }

  /** Codes K of the sampler's model; undefined while it was never there. */
  get codebookSize(): number | undefined {
    return this.#samplerPeer.info?.codebookSize;
  }

  get embeddingClient(): Embedding {
    return this.#embedding.client;
  }

  /** Asks all services whether they are there. */
  async ask(): Promise<void> {
    await Promise.all(this.#all().map((peer) => peer.ask()));
  }

  /** What keeps each service from being used; undefined for those that are ready. */
  problems(): Record<string, string | undefined> {
    const problems: Record<string, string | undefined> = {};
    for (const { name, problem } of this.#all()) problems[name] = problem;
    for (const [id, { peer }] of this.#decoders) problems[peer.name] ??= this.#misfit(id);
    return problems;
  }

  /**
   * Whether a request that names no decoder can be served. One of the other decoders that is away is the matter of those
   * who name it: it must not close the doors to everyone else.
   */
  get ready(): boolean {
    const problems = this.problems();
    const [standard] = this.#decoders.values();
    return [this.#model, this.#samplerPeer, standard?.peer].every((peer) => peer && problems[peer.name] === undefined);
  }

  /**
   * Who makes the partial pictures of a request that does not say: the preview decoder is that of the model, which the
   * default decoder shows too, and has to be there; all others have none but themselves.
   */
  partialDecoderOf(decoderId: string): string {
    const preview = this.#decoders.get(PREVIEW);
    const [standard] = this.#decoders.keys();
    const usable = preview && preview.peer.problem === undefined && this.#misfit(PREVIEW) === undefined;
    return usable && decoderId === standard ? PREVIEW : decoderId;
  }

  /**
   * The clients of one request.
   *
   * @param partialDecoderId of the partial pictures
   * @throws unavailable when a service was never there, or they do not fit each other
   */
  async pipeline(decoderId: string, partialDecoderId = decoderId): Promise<Pipeline> {
    const [sampler, decoder, partialDecoder] = await Promise.all([
      this.#samplerPeer.known(),
      this.#decoderClient(decoderId),
      this.#decoderClient(partialDecoderId),
      this.#model.known(),
    ]);
    for (const id of [decoderId, partialDecoderId]) {
      const misfit = this.#misfit(id);
      if (misfit !== undefined) throw new ClipGenError('unavailable', `decoder ${id} cannot be used: ${misfit}`);
    }
    return {
      embedding: this.#embedding.client,
      sampler: this.#sampler.client,
      decoder,
      partialDecoder,
      grid: { tokens: sampler.gridTokens, codebookSize: sampler.codebookSize },
      defaultCandidates: sampler.defaultCandidates || FALLBACK_CANDIDATES,
    };
  }

  async #decoderClient(id: string): Promise<TokenDecoder> {
    const decoder = this.#decoders.get(id);
    if (!decoder) throw new ClipGenError('internal', `no decoder ${id}`);
    await decoder.peer.known();
    return decoder.connection.client;
  }

  /** Why models of one request do not belong together, as far as is known. */
  #misfit(decoderId: string): string | undefined {
    const [sampler, model] = [this.#samplerPeer.info, this.#model.info];
    const decoder = this.#decoders.get(decoderId)?.peer.info;
    if (sampler && model && sampler.conditionSize !== model.embeddingSize) {
      return `the sampler takes vectors of ${sampler.conditionSize} numbers, embeddings have ${model.embeddingSize}`;
    }
    if (!sampler || !decoder) return undefined;
    const tokens = decoder.gridHeight * decoder.gridWidth;
    if (sampler.gridTokens !== tokens) {
      return `it takes grids of ${tokens} tokens, the sampler draws ${sampler.gridTokens}`;
    }
    if (sampler.codebookSize > decoder.codebookSize) {
      return `it knows ${decoder.codebookSize} codes, the sampler draws from ${sampler.codebookSize}`;
    }
    return undefined;
  }

  #all(): Peer<unknown>[] {
    return [this.#model, this.#samplerPeer, ...[...this.#decoders.values()].map(({ peer }) => peer)];
  }

  close(): void {
    clearInterval(this.#timer);
    for (const peer of this.#all()) peer.forget();
    const decoders = [...this.#decoders.values()].map(({ connection }) => connection);
    for (const connection of [this.#embedding, this.#sampler, ...decoders]) connection.close();
  }
}
