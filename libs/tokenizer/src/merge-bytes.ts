import { ID_OF_BYTE } from './byte-order.ts';
import { BYTE_TOKENS, type Vocabulary } from './vocabulary.ts';

/** Above any place in a word: a heap entry is rank · PLACES + place. */
const PLACES = 0x100_0000;

/**
 * Byte-pair encoding of one word (Sennrich et al., ACL 2016): starting from its bytes, the adjacent pair of lowest rank
 * is merged, leftmost first, until no pair has a rank. O(n log n) with a heap, so a long word is no trap.
 *
 * @param word UTF-8 bytes, at least one
 * @returns token ids
 */
export function mergeBytes(word: Uint8Array, vocabulary: Vocabulary): number[] {
  const count = word.length;
  const tokens = Int32Array.from(word, (byte) => ID_OF_BYTE[byte]!);
  tokens[count - 1]! += 256;
  const next = Int32Array.from({ length: count }, (_, place) => place + 1);
  const previous = Int32Array.from({ length: count }, (_, place) => place - 1);
  const heap: number[] = [];
  const offer = (place: number): void => {
    if (place < 0 || next[place]! >= count) return;
    const rank = vocabulary.rank(tokens[place]!, tokens[next[place]!]!);
    if (rank !== undefined) push(heap, rank * PLACES + place);
  };
  for (let place = 0; place < count; place++) offer(place);
  while (heap.length > 0) {
    const entry = pop(heap);
    const place = entry % PLACES;
    const rank = (entry - place) / PLACES;
    const after = next[place]!;
    // A merge beside it may have taken one of the two since.
    if (tokens[place]! < 0 || after >= count || vocabulary.rank(tokens[place]!, tokens[after]!) !== rank) continue;
    tokens[place] = BYTE_TOKENS + rank;
    tokens[after] = -1;
    const following = next[after]!;
    next[place] = following;
    if (following < count) previous[following] = place;
    offer(previous[place]!);
    offer(place);
  }
  return Array.from(tokens.filter((token) => token >= 0));
}

function push(heap: number[], entry: number): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= entry) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = entry;
}

function pop(heap: number[]): number {
  const least = heap[0]!;
  const entry = heap.pop()!;
  if (heap.length === 0) return least;
  let at = 0;
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= entry) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = entry;
  return least;
}
