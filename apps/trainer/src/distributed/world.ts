import { joinGroup, type Group, type JoinOptions, type WireFormat } from '@clip-gen/all-reduce';
import { ClipGenError } from '@clip-gen/errors';
import type { Tensor } from '@clip-gen/tensor';
import { Meetings } from './meetings.ts';

/** How this process meets the others of one training. */
export type WorldOptions = Pick<
  JoinOptions,
  'rank' | 'worldSize' | 'rendezvous' | 'token' | 'epoch' | 'timeoutMs' | 'joinTimeoutMs' | 'heartbeatTimeoutMs'
> & {
  /** Processes of this machine. Default 1. */
  readonly localWorldSize?: number;
};

/** Validation, pictures that are encoded and large checkpoints are waited for so long; a dead process is seen at once. */
const STALL_MS = 3_600_000;
/** Somebody may start the processes of several machines one after the other. */
const JOIN_MS = 600_000;
/** A group that is formed again of processes that are there comes together within this. */
const REFORM_MS = 60_000;
/** After the others have been waited for in vain: those who wait as well come within this. */
const GRACE_MS = 5000;
/** Why a group was ended that one process was too late for. */
const TOO_LATE = 'a process is too late';

/**
 * All processes of one training, as one of them sees them. Every process makes the same calls in the same order. What
 * they return is the same on all of them to the last bit. A training of one process has a world too, whose calls do
 * nothing.
 */
export class World {
  #group: Group | undefined;
  #options: WorldOptions | undefined;
  /** Where the number of those present may change: how they find each other. */
  #meetings: Meetings | undefined;
  #members: readonly number[];
  #around = (entering: Promise<void>): Promise<void> => entering;
  #wasIn = false;
  /** Memory that the group has been given, or was too small for. */
  readonly #lent = new Set<ArrayBufferLike>();
  #lateMs = REFORM_MS;
  #bytesSent = 0;

  private constructor(
    /** In [0, size). Rank 0 writes files and prints. */
    readonly rank: number,
    /** Processes of the training, whether they are present or not. */
    readonly size: number,
  ) {
    this.#members = Array.from({ length: size }, (_, member) => member);
  }

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

  /**
   * The world of a training whose processes may come and go; {@link enter} it. Rank 0 listens at `rendezvous` as long as
   * the training runs.
   *
   * @param around waits for the first group
   */
  static elastic(options: WorldOptions, around = (entering: Promise<void>): Promise<void> => entering): World {
    const world = new World(options.rank, options.worldSize);
    world.#around = around;
    world.#options = { timeoutMs: STALL_MS, ...options };
    world.#meetings = new Meetings(options);
    return world;
  }

  /**
   * Resolves when all processes have come, or, where this one has been started again, when it is let in.
   *
   * @param lateMs how long those present wait for others later on
   * @throws what `joinGroup` and `Meetings` throw
   */
  async enter(lateMs: number): Promise<void> {
    this.#lateMs = lateMs;
    if (this.#meetings) await this.#around(this.#reform(this.#meetings).then(() => undefined));
  }

  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** Whether others are on another machine, so that what they are sent travels while this one computes. */
  get crossesHosts(): boolean {
    return this.size > (this.#options?.localWorldSize ?? 1);
  }

  /** Whether processes may come and go. */
  get isElastic(): boolean {
    return this.#meetings !== undefined;
  }

  /** Ranks of those who take part in a call now, ascending: the results of calls by process are in this order. */
  get members(): readonly number[] {
    return this.#members;
  }

  /** Whether somebody waits to be let in, as rank 0 knows it. */
  get isAwaited(): boolean {
    return (this.#meetings?.waiting.length ?? 0) > 0;
  }

  /** Whether an error says that another process was lost: then there is a way on by joining again. */
  isLoss(error: unknown): boolean {
    if (this.size === 1 || !(error instanceof ClipGenError)) return false;
    if (this.#meetings && error.code === 'cancelled' && error.message.endsWith(TOO_LATE)) return true;
    return error.code === 'unavailable' || error.code === 'deadline_exceeded';
  }

  /** Counts the times that this world came together: one more after each loss of a process. */
  get epoch(): number {
    return this.#options?.epoch ?? 0;
  }

  /**
   * Comes together again after a loss, under the next epoch: with all, or, in an elastic world, with those who are there.
   *
   * @returns whether one of them has just been started
   * @throws what `joinGroup` throws
   */
  async rejoin(): Promise<{ readonly introduces: boolean }> {
    if (!this.#options) return { introduces: false };
    if (this.#meetings) return this.#reform(this.#meetings);
    await this.#leave();
    const next = { ...this.#options, epoch: this.epoch + 1 };
    this.#group = await joinGroup(next);
    this.#options = next;
    return { introduces: true };
  }

  async #reform(meetings: Meetings): Promise<{ readonly introduces: boolean }> {
    const options = this.#options!;
    const failure = this.#group?.failure;
    const tooLate = failure?.message.endsWith(TOO_LATE) ?? false;
    const blamed = failure?.rank === undefined || tooLate ? undefined : this.#members[failure.rank];
    const isFirstGroup = !this.#wasIn && this.epoch === 0;
    await this.#leave();
    const { members, rendezvous, epoch, introduces } = await meetings.meet({
      epoch: this.epoch,
      isNew: !this.#wasIn,
      expected: this.#members.filter((member) => member !== this.rank && member !== blamed),
      withinMs: isFirstGroup ? JOIN_MS : tooLate ? GRACE_MS : this.#lateMs,
      all: isFirstGroup,
    });
    this.#members = members;
    this.#options = { ...options, epoch };
    this.#group = await joinGroup({
      ...this.#options,
      rendezvous,
      rank: members.indexOf(this.rank),
      worldSize: members.length,
      joinTimeoutMs: isFirstGroup ? JOIN_MS : REFORM_MS,
    });
    this.#wasIn = true;
    return { introduces };
  }

  async #leave(): Promise<void> {
    const group = this.#group;
    this.#group = undefined;
    this.#lent.clear();
    if (!group) return;
    this.#bytesSent += await bytesOf(group);
    await group.close();
  }

  /** Ends the group: those present come together again without whoever is not there yet. */
  giveUpLate(): void {
    this.#group?.abort(TOO_LATE);
  }

  /** Bytes that this process has sent to the others. */
  async bytesSent(): Promise<number> {
    return this.#bytesSent + (this.#group ? await bytesOf(this.#group) : 0);
  }

  /**
   * Has processes of one machine see stretches of WebAssembly memories, so that calls reduce them where they lie. For as
   * long as the group is together; asking again costs nothing.
   *
   * @param stretches which nobody writes to until the promise settles, at most one of each memory
   */
  async lend(stretches: readonly Float32Array[]): Promise<void> {
    if (!this.#group) return;
    for (const stretch of stretches) {
      if (this.#lent.has(stretch.buffer)) continue;
      this.#lent.add(stretch.buffer);
      await this.#group.lend(stretch);
    }
  }

  /** Replaces each element by its mean over the processes. @param wire what elements travel as between machines */
  async mean(tensors: readonly Float32Array[], wire: WireFormat = 'float32'): Promise<void> {
    await this.#group?.allReduce(tensors, { op: 'mean', wire });
  }

  /** Replaces each element by its sum over the processes; whole numbers up to 2^24 stay exact. */
  async sum(tensor: Float32Array): Promise<void> {
    await this.#group?.allReduce(tensor);
  }

  /** The rows of all processes, in the order of ranks. Every process gives as many. */
  async gather(rows: Float32Array): Promise<Float32Array> {
    if (!this.#group) return rows;
    const all = new Float32Array(rows.length * this.#members.length);
    await this.#group.allGather(rows, all);
    return all;
  }

  /**
   * The other way round: what each process has for the rows of all, summed, to the process whose rows they are.
   *
   * @param all in the order of ranks, equally many for each
   */
  async sumOfOwn(all: Float32Array): Promise<Float32Array> {
    if (!this.#group) return all;
    const own = new Float32Array(all.length / this.#members.length);
    await this.#group.reduceScatter(all, own);
    return own;
  }

  /** The numbers of each process, by rank, in float64. Every process gives as many. */
  async numbers(own: readonly number[]): Promise<readonly (readonly number[])[]> {
    if (!this.#group) return [own];
    // Bits of float64 as pairs of float32: they are only copied.
    const all = new Float64Array((await this.gather(new Float32Array(Float64Array.from(own).buffer))).buffer);
    return Array.from(this.#members, (_, rank) => [...all.subarray(rank * own.length, (rank + 1) * own.length)]);
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
    return Object.fromEntries(names.map((name, i) => [name, sums[i]! / this.#members.length])) as Record<N, number>;
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

  /** Fills the arrays with those of the process at place `root`. */
  async broadcastArrays(arrays: readonly Float32Array[], root = 0): Promise<void> {
    await this.#group?.broadcast(arrays, { root });
  }

  /** Tells the others that this process cannot go on: their calls fail and name it. */
  abort(reason: string): void {
    this.#group?.abort(reason);
  }

  async close(): Promise<void> {
    await this.#leave();
    await this.#meetings?.close();
  }
}

/** None where the group is broken beyond telling. */
async function bytesOf(group: Group): Promise<number> {
  return group.statistics().then(
    ({ bytesSent }) => bytesSent,
    () => 0,
  );
}
