import { randomBytes } from 'node:crypto';
import { environment } from '../config.ts';
import { freePort } from './free-port.ts';
import { Launcher } from './launcher.ts';
import type { JoinedMessage } from './rank-process.ts';
import type { World } from './world.ts';

/**
 * Runs a command as several ranks of this host, which meet on the loopback address with a token of their own.
 *
 * @param command program and arguments
 * @returns the exit code
 */
export async function launchLocally(
  command: readonly string[],
  processes: number,
  maxRestarts: number,
): Promise<number> {
  return new Launcher({
    command,
    env: environment(),
    firstRank: 0,
    localWorldSize: processes,
    worldSize: processes,
    rendezvous: `127.0.0.1:${await freePort()}`,
    token: randomBytes(32).toString('hex'),
    maxRestarts,
    print: printError,
  }).run();
}

/** Lines about processes go where errors go: rank 0 has the standard output. */
export function printError(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Tells the launcher, where there is one, which epoch this rank has joined, as the next one's number depends on it, and
 * whether the others go on without it.
 */
export function tellLauncher(world: World): void {
  const isSpared = world.isElastic && !world.isFirst;
  process.send?.({ joined: world.epoch, isSpared } satisfies JoinedMessage);
}

/** Words of a command line without some options and their values. */
export function withoutOptions(words: readonly string[], names: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (names.includes(word)) i++;
    else if (!names.some((name) => word.startsWith(`${name}=`))) kept.push(word);
  }
  return kept;
}
