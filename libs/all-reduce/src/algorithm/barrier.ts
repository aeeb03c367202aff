import type { Exchange } from './exchange.ts';
import type { Flow } from './flow.ts';

/** Nobody leaves before everybody has come. ⌈log₂ n⌉ rounds of empty frames, each to a place twice as far away. */
export function* barrier(exchange: Exchange): Flow {
  const { size, me } = exchange;
  for (let distance = 1; distance < size; distance *= 2) {
    exchange.send((me + distance) % size, 0, 0, 0);
    yield exchange.receipt((me + size - distance) % size, 0, 0, 0);
  }
}
