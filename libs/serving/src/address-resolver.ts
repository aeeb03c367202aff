import { parseAddress, type HostPort } from '@clip-gen/config';
import { experimental, Metadata, status, type ChannelOptions } from '@grpc/grpc-js';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

type Endpoint = experimental.Endpoint;
type Listener = experimental.ResolverListener;

const SCHEME = 'clip-gen';

/** Names are looked up again this often, so that new replicas behind one name get their share of calls. */
const LOOK_UP_AGAIN_MS = 15_000;
/** So often at most, where some name cannot be found or the channel asks: it does after each failed connection. */
const SOONEST_AGAIN_MS = 1_000;

/**
 * The target of a channel that spreads over all of `addresses`, host names and IP addresses mixed, each name standing for
 * everything that it resolves to. gRPC's own schemes take one name, or several IP addresses.
 *
 * @throws ClipGenError `invalid_argument` for an address that is no `host:port`
 */
export function channelTarget(addresses: readonly string[]): string {
  for (const address of addresses) parseAddress(address);
  return `${SCHEME}:${addresses.join(',')}`;
}

class AddressResolver implements experimental.Resolver {
  private readonly addresses: readonly HostPort[];
  /** Whether an answer can ever change. */
  private readonly named: boolean;
  private readonly known = new Map<HostPort, Endpoint[]>();
  private timer: NodeJS.Timeout | undefined;
  private running = false;
  private doneAt = -Infinity;
  private told = '';
  /** Answers to questions from before `destroy` come too late. */
  private generation = 0;

  constructor(
    { path }: experimental.GrpcUri,
    private readonly listener: Listener,
    _options: ChannelOptions,
  ) {
    this.addresses = path.split(',').map((address) => parseAddress(address));
    this.named = this.addresses.some(({ host }) => isIP(host) === 0);
  }

  static getDefaultAuthority({ path }: experimental.GrpcUri): string {
    return path.split(',')[0] ?? '';
  }

  updateResolution(): void {
    if (this.running || (!this.named && this.told !== '')) return;
    const waitMs = this.doneAt + SOONEST_AGAIN_MS - performance.now();
    if (waitMs > 0) this.resolveIn(waitMs);
    else this.resolve();
  }

  destroy(): void {
    this.generation++;
    clearTimeout(this.timer);
    this.running = false;
    this.doneAt = -Infinity;
    this.told = '';
  }

  private resolveIn(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.resolve(), ms).unref();
  }

  private resolve(): void {
    clearTimeout(this.timer);
    this.running = true;
    const { generation } = this;
    void this.lookUpAll().then((errors) => {
      if (generation !== this.generation) return;
      this.running = false;
      this.doneAt = performance.now();
      if (this.named) this.resolveIn(errors.length > 0 ? SOONEST_AGAIN_MS : LOOK_UP_AGAIN_MS);
      this.tell(errors);
    });
  }

  /** Looks every name up. One that cannot be found keeps what it stood for. Returns what went wrong. */
  private async lookUpAll(): Promise<string[]> {
    const errors: string[] = [];
    await Promise.all(
      this.addresses.map(async (address) => {
        try {
          this.known.set(address, await lookUp(address));
        } catch (error) {
          errors.push(`${address.host}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }),
    );
    return errors;
  }

  private tell(errors: readonly string[]): void {
    const unique = new Map<string, Endpoint>();
    for (const address of this.addresses) {
      for (const endpoint of this.known.get(address) ?? []) unique.set(JSON.stringify(endpoint), endpoint);
    }
    const key = [...unique.keys()].sort().join();
    if (unique.size > 0 && key === this.told) return;
    this.told = key;
    const note = errors.join('; ');
    const result: experimental.StatusOr<Endpoint[]> =
      unique.size > 0
        ? { ok: true, value: [...unique.values()] }
        : {
            ok: false,
            error: { code: status.UNAVAILABLE, details: `no address found: ${note}`, metadata: new Metadata() },
          };
    this.listener(result, {}, null, note);
  }
}

/** One endpoint for each server that the host's name stands for. */
async function lookUp({ host, port }: HostPort): Promise<Endpoint[]> {
  const found = isIP(host) ? [{ address: host, family: isIP(host) }] : await lookup(host, { all: true });
  const addresses = found.map(({ address }) => ({ host: address, port }));
  // One address of each family is one machine (localhost, above all): two ways to one server, not two servers.
  const families = new Set(found.map(({ family }) => family));
  if (found.length === 2 && families.size === 2) return [{ addresses }];
  return addresses.map((address) => ({ addresses: [address] }));
}

experimental.registerResolver(SCHEME, AddressResolver);
