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
import { connect, type CallExtras, type ClientTls, type Connection } from '@clip-gen/serving';
import type { Logger, Metrics } from '@clip-gen/telemetry';
import { decoderAddresses, type GatewaySettings } from '../config.ts';
import { FALLBACK_CANDIDATES } from '../generation-request.ts';
import { Peer } from './peer.ts';

type Embedding = ClipEmbeddingClient<CallExtras>;
type Sampler = TransformerSamplerClient<CallExtras>;
type TokenDecoder = TokenDecoderClient<CallExtras>;

/** A question about presence is answered soon, or asked again later. */
const PROBE: CallExtras = { deadlineMs: 2000, retry: false };

/** What one request goes through. */
export interface Pipeline {
  readonly embedding: Embedding;
  readonly sampler: Sampler;
  readonly decoder: TokenDecoder;
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
  constructor(settings: GatewaySettings, { logger, metrics, onChange, tls }: PeersParts) {
    const common = {
      logger,
      metrics,
      retry: { attempts: settings.attempts },
      deadlineMs: settings.requestTimeoutMs,
      // A picture of the largest side as RGB8, and some.
      maxReceiveBytes: 3 * 4096 ** 2 + 65_536,
      ...(tls && { tls }),
    };
    const watched = { onChange, logger };
    const embedding = connect(ClipEmbeddingDefinition, { ...common, name: 'embedding', addresses: settings.embedding });
    this.#embedding = embedding;
    this.#model = new Peer({
      ...watched,
      name: 'embedding',
      probe: () => embedding.client.getModel({}, PROBE),
    });
    const sampler = connect(TransformerSamplerDefinition, { ...common, name: 'sampler', addresses: settings.sampler });
    this.#sampler = sampler;
    this.#samplerPeer = new Peer({
      ...watched,
      name: 'sampler',
      probe: () => sampler.client.getSampler({}, PROBE),
    });
    const decoders = new Map<string, Decoder>();
    for (const [id, addresses] of decoderAddresses(settings.decoders)) {
      const name = `decoder ${id}`;
      const connection = connect(TokenDecoderDefinition, { ...common, name, addresses });
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

  /** The clients of one request. @throws unavailable when a service was never there, or they do not fit each other */
  async pipeline(decoderId: string): Promise<Pipeline> {
    const decoder = this.#decoders.get(decoderId);
    if (!decoder) throw new ClipGenError('internal', `no decoder ${decoderId}`);
    const [sampler] = await Promise.all([this.#samplerPeer.known(), decoder.peer.known(), this.#model.known()]);
    const misfit = this.#misfit(decoderId);
    if (misfit !== undefined) throw new ClipGenError('unavailable', `decoder ${decoderId} cannot be used: ${misfit}`);
    return {
      embedding: this.#embedding.client,
      sampler: this.#sampler.client,
      decoder: decoder.connection.client,
      grid: { tokens: sampler.gridTokens, codebookSize: sampler.codebookSize },
      defaultCandidates: sampler.defaultCandidates || FALLBACK_CANDIDATES,
    };
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
    const decoders = [...this.#decoders.values()].map(({ connection }) => connection);
    for (const connection of [this.#embedding, this.#sampler, ...decoders]) connection.close();
  }
}
