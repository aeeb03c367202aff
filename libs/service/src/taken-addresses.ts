import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { flagName, parseAddress } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';

/**
 * Tries the addresses that a program is going to listen on, so that one that it cannot have is told at once and not after
 * its models have loaded. All that are taken are named together, also one that is named twice here. What is free now may
 * be taken a moment later: listening still has its own error.
 *
 * @param addresses `host:port` by the name of their setting
 * @throws unavailable
 */
export async function refuseTakenAddresses(addresses: Readonly<Record<string, string>>): Promise<void> {
  const problems: string[] = [];
  const held: Server[] = []; // until all have been tried: two may be the same
  for (const [setting, address] of Object.entries(addresses)) {
    const server = createServer();
    held.push(server);
    const problem = await problemOf(server, address);
    if (problem !== undefined) problems.push(`${flagName(setting)} ${address}: ${problem}`);
  }
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  if (problems.length === 0) return;
  throw new ClipGenError(
    'unavailable',
    `cannot listen on ${problems.join(', ')}; choose others (port 0: any free one)`,
  );
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use, perhaps by this program',
  EACCES: 'no permission for this port',
  EADDRNOTAVAIL: 'no address of this machine',
  ENOTFOUND: 'no such host',
};

async function problemOf(server: Server, address: string): Promise<string | undefined> {
  try {
    server.listen(parseAddress(address));
    await once(server, 'listening');
    return undefined;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return REASONS[code] ?? code;
  }
}
