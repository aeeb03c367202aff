import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const PREFIX = 'clip-gen';

/**
 * A name that no other process uses, from which a later one sees whether its owner still runs: prefix, process-id
 * namespace, process id, its start time, random.
 */
export function ownedName(extension: string): string {
  const owner = [PREFIX, pidNamespace(), process.pid, startTimeOf(process.pid) ?? 0].join('-');
  return `${owner}-${randomBytes(6).toString('hex')}${extension}`;
}

/** Removes what crashed processes left in the folder. Files of other programs and of other containers stay. */
export function removeAbandoned(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  const pattern = new RegExp(`^${PREFIX}-${pidNamespace()}-(\\d+)-(\\d+)-[0-9a-f]{12}\\.\\w+$`);
  for (const name of names) {
    const [, pid, start] = pattern.exec(name) ?? [];
    if (pid === undefined || startTimeOf(Number(pid)) === Number(start)) continue;
    if (start === '0' && isRunning(Number(pid))) continue;
    try {
      rmSync(join(folder, name), { force: true });
    } catch {
      // another user's: not ours to remove
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Clock ticks after the machine's start; undefined when there is no such process (or no /proc: then for all). */
function startTimeOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch {
    return undefined;
  }
}

function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0';
  }
}
