import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/**
 * Physical cores that this process may use. Two hardware threads of one core share its vector units: a second one brings
 * matrix products nothing. Where the machine does not tell (other systems than Linux), its logical processors.
 */
export function defaultThreads(): number {
  const logical = availableParallelism();
  return Math.max(1, Math.min(logical, physicalCores() ?? logical));
}

function physicalCores(): number | undefined {
  let text: string;
  try {
    text = readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return undefined;
  }
  const cores = new Set<string>();
  for (const processor of text.split('\n\n')) {
    const core = /^core id\s*:\s*(\d+)/m.exec(processor)?.[1];
    if (core === undefined) continue;
    const socket = /^physical id\s*:\s*(\d+)/m.exec(processor)?.[1] ?? '0';
    cores.add(`${socket}/${core}`);
  }
  return cores.size > 0 ? cores.size : undefined;
}
