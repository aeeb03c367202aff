import { experimental, Metadata, status, type ChannelOptions } from '@grpc/grpc-js';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { parseAddress, type HostPort } from './address.ts';

type Endpoint = experimental.Endpoint;
type Listener = experimental.ResolverListener;

const SCHEME = 'clip-gen';

/** Names are looked up again this often, so that new replicas behind one name get their share of calls. */
const LOOK_UP_AGAIN_MS = 15_000;

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
  private readonly known = new Map<HostPort, Endpoint[]>();
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;
  private generation = 0;
  private told = '';

  constructor(
    { path }: experimental.GrpcUri,
    private readonly listener: Listener,
    _options: ChannelOptions,
  ) {
    this.addresses = path.split(',').map(parseAddress);
  }

  static getDefaultAuthority({ path }: experimental.GrpcUri): string {
    return path.split(',')[0] ?? '';
  }

  updateResolution(): void {
    this.told = ''; // who asks wants an answer, even the same one
    this.resolve();
  }

  destroy(): void {
    this.generation++;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.running = undefined;
  }

  private resolve(): void {
    const generation = this.generation;
    this.running ??= this.lookUpAll().then((errors) => {
      if (generation !== this.generation) return;
      this.running = undefined;
      this.tell(errors);
      if (this.timer !== undefined || this.addresses.every(({ host }) => isIP(host))) return;
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.resolve();
      }, LOOK_UP_AGAIN_MS).unref();
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
