import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { hostname } from 'node:os';

/** Where files of shared memory lie. */
export const MEMORY_FOLDER = '/dev/shm';

/**
 * Equal for processes of one machine that see the same /dev/shm and the same network, so that they can share memory and
 * Unix sockets. Containers of one machine are hosts of their own unless they share both.
 */
export function hostId(): string {
  const parts = [
    or(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(), hostname()),
    or(() => readlinkSync('/proc/self/ns/net'), 'one network'),
    or(() => `${statSync(MEMORY_FOLDER).dev} ${statSync(MEMORY_FOLDER).ino}`, 'no memory folder'),
  ];
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
}

function or(read: () => string, otherwise: string): string {
  try {
    return read();
  } catch {
    return otherwise; // not Linux
  }
}
