import { setImmediate } from 'node:timers/promises';
import { cacheNames, cacheShape, type CacheType, type GptConfig } from '@clip-gen/gpt';
import { elementCount, tensor, type Tensor } from '@clip-gen/tensor';

/** Positions that there is room for at first. */
const FIRST_ROOM = 32;
/** Bytes moved between two turns of the event loop: some milliseconds. */
const STRIPE_BYTES = 1 << 24;

/** Bytes of a candidate's keys and values, all positions. */
export function cacheBytes(config: GptConfig, type: CacheType): number {
  return elementCount(cacheShape(config, 1)) * cacheNames(config).length * (type === 'int8' ? 1 : 4);
}

/**
 * Keys and values of rows that advance together. The positions of one head lie behind each other, and there is room for
 * hardly more of them than there are: what a step reads is then nearly one piece, which memory gives in half the time that
 * as many bytes in pieces of some kilobytes take. Room doubles when it is full, in place.
 */
export class GrowingCache {
  /** Of all positions; memory that was never written is no memory yet. */
  readonly #buffers: ReadonlyMap<string, Float32Array<ArrayBuffer> | Int8Array<ArrayBuffer>>;
  #tensors: ReadonlyMap<string, Tensor> = new Map();
  #room = 0;

  constructor(
    private readonly config: GptConfig,
    private readonly rows: number,
    readonly type: CacheType,
  ) {
    const count = elementCount(cacheShape(config, rows));
    const buffer = () => (type === 'int8' ? new Int8Array(count) : new Float32Array(count));
    this.#buffers = new Map(cacheNames(config).map((name) => [name, buffer()]));
  }

  /** Positions that there is room for. */
  get room(): number {
    return this.#room;
  }

  /** By `cacheNames`: (B, H, room, D) each, over buffers of this cache; others after every growth. */
  get tensors(): ReadonlyMap<string, Tensor> {
    return this.#tensors;
  }

  /**
   * Makes room for `positions`, in [1, T]. What there is stays; the event loop goes on while it is moved.
   *
   * @returns whether the tensors are others than before
   */
  async reach(positions: number): Promise<boolean> {
    if (positions <= this.#room) return false;
    const { tokens } = this.config;
    let room = Math.max(this.#room, FIRST_ROOM);
    while (room < positions) room *= 2;
    room = Math.min(room, tokens);
    let moved = 0;
    for (const data of this.#buffers.values()) {
      if (moved >= STRIPE_BYTES) {
        await setImmediate();
        moved = 0;
      }
      moved += this.#spread(data, room);
    }
    this.#room = room;
    const shape = cacheShape(this.config, this.rows, room);
    const count = elementCount(shape);
    this.#tensors = new Map(
      [...this.#buffers].map(([name, data]) => {
        return [
          name,
          data instanceof Int8Array
            ? tensor('int8', shape, data.subarray(0, count))
            : tensor('float32', shape, data.subarray(0, count)),
        ];
      }),
    );
    return true;
  }

  /** Moves the heads of one tensor apart, the last one first; the bytes moved. */
  #spread(data: Float32Array | Int8Array, room: number): number {
    const heads = this.rows * this.config.heads;
    const width = this.config.width / this.config.heads;
    const [from, to] = [this.#room * width, room * width];
    for (let head = heads - 1; head > 0; head--) data.copyWithin(head * to, head * from, (head + 1) * from);
    return heads * from * data.BYTES_PER_ELEMENT;
  }
}
