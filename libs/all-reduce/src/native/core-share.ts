import { readFileSync } from 'node:fs';
import { invalidArgument } from '@clip-gen/errors';
import { nativeCalls } from './native-calls.ts';

/** Which socket of the machine a core is in, and which core of it: logical cores of one core have the same. */
export interface CorePlace {
  readonly socket: number;
  readonly core: number;
}

/**
 * Binds the calling thread, and the threads that it starts from now on, to a share of the cores that it may run on: all
 * processes of a host that work in step get shares as equal as can be, neighbours with neighbouring cores. Where there are
 * more processes than cores, several share one.
 *
 * @param index of this process among those of the host, from 0
 * @param count of the processes of the host
 * @returns the numbers of the cores; undefined where the system has no such call or refuses: nothing is bound then
 * @throws invalid_argument
 */
export function bindToCoreShare(index: number, count: number): readonly number[] | undefined {
  if (!Number.isInteger(count) || count < 1) throw invalidArgument('count', 'an integer ≥ 1', count);
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw invalidArgument('index', `an integer in [0, ${count - 1}]`, index);
  }
  const native = nativeCalls();
  const cores = native?.cores() ?? [];
  if (!native || cores.length === 0) return undefined;
  const share = coreShare(cores, placeOf, index, count);
  return native.bindTo(share) ? share : undefined;
}

/** Share `index` of `count` of the cores; logical cores of one core stay together. */
export function coreShare(
  cores: readonly number[],
  placeOf: (core: number) => CorePlace,
  index: number,
  count: number,
): number[] {
  const places = new Map(cores.map((core) => [core, placeOf(core)]));
  const inOrder = [...cores].sort((a, b) => {
    const [x, y] = [places.get(a)!, places.get(b)!];
    return x.socket - y.socket || x.core - y.core || a - b;
  });
  const start = Math.floor((index * cores.length) / count);
  const end = Math.floor(((index + 1) * cores.length) / count);
  return inOrder.slice(start, Math.max(end, start + 1));
}

function placeOf(core: number): CorePlace {
  const read = (name: string): number => {
    try {
      return Number(readFileSync(`/sys/devices/system/cpu/cpu${core}/topology/${name}`, 'utf8'));
    } catch {
      return 0; // then they are in the order of their numbers
    }
  };
  return { socket: read('physical_package_id'), core: read('core_id') };
}
