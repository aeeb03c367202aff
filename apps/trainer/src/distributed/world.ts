import { joinGroup, type Group, type JoinOptions } from '@clip-gen/all-reduce';
import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';

/** How this process meets the others of one training. */
export type WorldOptions = Pick<
  JoinOptions,
  'rank' | 'worldSize' | 'rendezvous' | 'token' | 'epoch' | 'timeoutMs' | 'joinTimeoutMs' | 'heartbeatTimeoutMs'
>;

/** Validation, pictures that are encoded and large checkpoints are waited for so long; a dead process is seen at once. */
const STALL_MS = 3_600_000;
/** Somebody may start the processes of several machines one after the other. */
const JOIN_MS = 600_000;

/**
 * All processes of one training, as one of them sees them. Every process makes the same calls in the same order. What
 * they return is the same on all of them to the last bit. A training of one process has a world too, whose calls do
 * nothing.
 */
export class World {
  #group: Group | undefined;
  #options: WorldOptions | undefined;

  private constructor(
    /** In [0, size). Rank 0 writes files and prints. */
    readonly rank: number,
    readonly size: number,
  ) {}

  /** The world of a training in one process. */
  static alone(): World {
    return new World(0, 1);
  }

  /**
   * Resolves when all processes have come.
   *
   * @throws what `joinGroup` throws
   */
  static async join(options: WorldOptions): Promise<World> {
    const { rank, worldSize } = options;
    const world = new World(rank, worldSize);
    if (worldSize === 1) return world;
    world.#options = { timeoutMs: STALL_MS, joinTimeoutMs: JOIN_MS, ...options };
    world.#group = await joinGroup(world.#options);
    return world;
  }

  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** Whether an error says that another process was lost: then there is a way on by joining again. */
  isLoss(error: unknown): boolean {
    if (this.size === 1 || !(error instanceof ClipGenError)) return false;
    return error.code === 'unavailable' || error.code === 'deadline_exceeded';
  }

  /** Counts the times that this world came together: one more after each loss of a process. */
  get epoch(): number {
    return this.#options?.epoch ?? 0;
  }

  /**
   * Comes together again after a loss, under the next epoch.
   *
   * @throws what `joinGroup` throws
   */
  async rejoin(): Promise<void> {
    if (!this.#options) return;
    await this.#group?.close();
    const next = { ...this.#options, epoch: this.epoch + 1 };
    this.#group = await joinGroup(next);
    this.#options = next;
  }

  /** Replaces each element by its mean over the processes. */
  async mean(tensors: readonly Float32Array[]): Promise<void> {
    await this.#group?.allReduce(tensors, { op: 'mean' });
  }

  /** Replaces each element by its sum over the processes; whole numbers up to 2^24 stay exact. */
  async sum(tensor: Float32Array): Promise<void> {
    await this.#group?.allReduce(tensor);
  }

  /** The rows of all processes, in the order of ranks. Every process gives as many. */
  async gather(rows: Float32Array): Promise<Float32Array> {
    if (!this.#group) return rows;
    const all = new Float32Array(rows.length * this.size);
    await this.#group.allGather(rows, all);
    return all;
  }

  /** The numbers of each process, by rank, in float64. Every process gives as many. */
  async numbers(own: readonly number[]): Promise<readonly (readonly number[])[]> {
    if (!this.#group) return [own];
    // Bits of float64 as pairs of float32: they are only copied.
    const all = new Float64Array((await this.gather(new Float32Array(Float64Array.from(own).buffer))).buffer);
    return Array.from({ length: this.size }, (_, rank) => [
      ...all.subarray(rank * own.length, (rank + 1) * own.length),
    ]);
  }

  /** Sums of numbers over the processes, in float64 and in the order of ranks. */
  async sums(own: readonly number[]): Promise<readonly number[]> {
    const all = await this.numbers(own);
    return own.map((_, i) => all.reduce((sum, numbers) => sum + numbers[i]!, 0));
  }

  /** Means by name, in float64. */
  async means<N extends string>(own: Readonly<Record<N, number>>): Promise<Record<N, number>> {
    const names = Object.keys(own) as N[];
    const sums = await this.sums(names.map((name) => own[name]));
    return Object.fromEntries(names.map((name, i) => [name, sums[i]! / this.size])) as Record<N, number>;
  }

  /** Whether any process says so. */
  async any(own: boolean): Promise<boolean> {
    return (await this.sums([own ? 1 : 0]))[0]! > 0;
  }

  /** What the process `root` gives, JSON as a whole, on all of them. */
  async share<T>(value: T, root = 0): Promise<T> {
    if (!this.#group) return value;
    const text = this.rank === root ? Buffer.from(JSON.stringify(value)) : Buffer.alloc(0);
    const length = (await this.numbers([text.length]))[root]![0]!;
    const bytes = new Uint8Array(Math.ceil(length / 4) * 4);
    bytes.set(text);
    await this.#group.broadcast(new Float32Array(bytes.buffer), { root });
    return JSON.parse(Buffer.from(bytes.subarray(0, length)).toString('utf8')) as T;
  }

  /** Fills the tensors, of four bytes an element, with those of the process `root`. */
  async broadcast(tensors: Iterable<Tensor>, root = 0): Promise<void> {
    if (!this.#group) return;
    const words = Array.from(tensors, ({ data, dtype }) => {
      if (data.BYTES_PER_ELEMENT !== 4) throw new ClipGenError('internal', `cannot broadcast tensors of ${dtype}`);
      return new Float32Array(data.buffer, data.byteOffset, data.length);
    });
    await this.#group.broadcast(words, { root });
  }

  /** Tells the others that this process cannot go on: their calls fail and name it. */
  abort(reason: string): void {
    this.#group?.abort(reason);
  }

  async close(): Promise<void> {
    await this.#group?.close();
    this.#group = undefined;
  }
}
