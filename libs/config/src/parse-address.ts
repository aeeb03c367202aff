import { invalidArgument } from '@clip-gen/errors';

/** A host's name or IP address, and a port. */
export interface HostPort {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * `sampler:50052`, `10.0.0.7:50052`, `[::1]:50052`
 *
 * @param name how the user gave it, for the message
 * @throws ClipGenError `invalid_argument`
 */
export function parseAddress(address: string, name = 'address'): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? NaN);
  if (host === undefined || !(port <= 65_535)) throw invalidArgument(name, 'host:port', address);
  return { host, port };
}
