import { readdirSync, readFileSync } from 'node:fs';
import { invalidArgument } from '@clip-gen/errors';
import { nativeCalls } from './native-calls.ts';

/** Where a logical processor is: those of one core have the same. */
export interface CorePlace {
  readonly socket: number;
  /** The lowest of the core's logical processors. */
  readonly core: number;
}

/**
 * Binds this process, all its threads and those that they start, to a share of the logical processors that it may run on:
 * processes of a host that work in step get shares as equal as can be, neighbours with neighbouring cores. The logical
 * processors of a core stay together as long as there are no more processes than cores; where there are more than logical
 * processors, several share one.
 *
 * @param index of this process among those of the host, from 0
 * @param count of the processes of the host
 * @returns the numbers of the logical processors; undefined where the system has no such call or refuses: nothing is bound
 * @throws invalid_argument
 */
export function bindToCoreShare(index: number, count: number): readonly number[] | undefined {
  if (!Number.isInteger(count) || count < 1) throw invalidArgument('count', 'an integer ≥ 1', count);
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw invalidArgument('index', `an integer in [0, ${count - 1}]`, index);
  }
  const native = nativeCalls();
  const allowed = native?.processors() ?? [];
  if (!native || allowed.length === 0) return undefined;
  const share = coreShare(allowed, placeOf, index, count);
  // Pools of threads are there already; a thread inherits from the one that starts it, which may be bound a moment later.
  const bound = new Set<string>();
  for (let found = true; found;) {
    found = false;
    for (const thread of threads()) {
      if (bound.has(thread)) continue;
      const isBound = native.bindThread(Number(thread), share); // or the thread has just ended
      if (!isBound && bound.size === 0) return undefined;
      bound.add(thread);
      found = true;
    }
  }
  return share;
}

/** Share `index` of `count` of the logical processors. */
export function coreShare(
  processors: readonly number[],
  placeOf: (processor: number) => CorePlace,
  index: number,
  count: number,
): number[] {
  const places = new Map(processors.map((processor) => [processor, placeOf(processor)]));
  const inOrder = [...processors].sort((a, b) => {
    const [x, y] = [places.get(a)!, places.get(b)!];
    return x.socket - y.socket || x.core - y.core || a - b;
  });
  const cores = new Map<number, number[]>();
  for (const processor of inOrder) {
    const { core } = places.get(processor)!;
    cores.set(core, [...(cores.get(core) ?? []), processor]);
  }
  const units = count <= cores.size ? [...cores.values()] : inOrder.map((processor) => [processor]);
  const start = Math.floor((index * units.length) / count);
  const end = Math.floor(((index + 1) * units.length) / count);
  return units.slice(start, Math.max(end, start + 1)).flat();
}

function threads(): string[] {
  try {
    return readdirSync('/proc/self/task');
  } catch {
    return ['0']; // the calling thread: without /proc the others cannot be named
  }
}

function placeOf(processor: number): CorePlace {
  const read = (name: string): string => {
    try {
      return readFileSync(`/sys/devices/system/cpu/cpu${processor}/topology/${name}`, 'utf8');
    } catch {
      return ''; // then each is a core, in the order of their numbers
    }
  };
  const lowestSibling = /^\d+/.exec(read('thread_siblings_list'))?.[0];
  return { socket: Number(read('physical_package_id')), core: Number(lowestSibling ?? processor) };
}
