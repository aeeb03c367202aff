import { setImmediate as nextTurn } from 'node:timers/promises';
import { SIGNATURE_BYTES } from '../call.ts';
import type { Failure } from '../failure.ts';
import type { WorkMemory } from '../memory/work-memory.ts';
import { differentCalls } from './mismatch.ts';

/** Sleeping and waking on a word of memory that several processes see. */
export interface WordSleeper {
  /** Returns when the word at `address` is no longer `seen`, when somebody woke it, or after `milliseconds`. */
  sleep(address: number, seen: number, milliseconds: number): void;
  wake(address: number): void;
  /** Lets another thread that is ready have this core. */
  yieldCore(): void;
}

/** What the rank tells its neighbours before they touch its data. */
export interface Announcement {
  readonly signature: Uint8Array;
  /** Where its elements lie, from the start of its region, in bytes. */
  readonly offset: number;
  /** Whether all elements of the call lie there in one stretch, not only those of a segment. */
  readonly whole: boolean;
}

/** What the neighbours have told. */
export interface Places {
  /** Where each region's elements lie in this memory. */
  readonly addresses: readonly number[];
  /** Whether every rank has said `whole`. */
  readonly whole: boolean;
  /** Which announcement it was. */
  readonly announcement: number;
}

// A region's control words.
const PHASE = 0;
const SLEEPERS = 1;
const ANNOUNCEMENTS = 64; // byte of the first of two
const ANNOUNCEMENT_BYTES = 64;
// After an announcement's signature.
const OFFSET = SIGNATURE_BYTES;
const WHOLE = SIGNATURE_BYTES + 4;
const SHARES_TAKEN = SIGNATURE_BYTES + 8;

/** A neighbour that comes a little later is waited for awake: falling asleep and being woken takes about as long. */
const SPIN_MS = 0.2;
const SLEEP_MS = 10;

/**
 * Ranks that see each other's regions of one memory. Each rank writes flags of its own region only, but for the
 * count of shares; a phase is a number that counts up, and `meet` returns when every neighbour has counted as far.
 */
export class SharedRegions {
  readonly size: number;
  /** The rank that is not there yet, while `meet` waits. */
  waitingFor: number | undefined;
  /** Times that everybody was there. */
  meetings = 0;
  readonly #left = new Set<number>();
  #phase = 0;
  #announced = 0;
  #failure: Error | undefined;

  /**
   * @param ranks the neighbours by region, with the own rank among them
   * @param sleeper undefined to yield to the event loop instead of sleeping: ranks of one thread
   * @param report is told when neighbours' calls do not fit
   */
  constructor(
    readonly memory: WorkMemory,
    readonly ranks: readonly number[],
    readonly sleeper: WordSleeper | undefined,
    readonly report: (failure: Failure) => void,
  ) {
    this.size = ranks.length;
  }

  /** Rejects every `meet` under way or to come. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /** A rank has left in order: who still waits for it waits in vain. */
  left(rank: number): void {
    this.#left.add(rank);
  }

  /** Says where the own elements are; `meet` and then `places` follow. */
  announce({ signature, offset, whole }: Announcement): void {
    const at = this.#announcement(this.memory.region, this.#announced++);
    this.memory.bytes.set(signature, at);
    Atomics.store(this.memory.words, (at + OFFSET) >> 2, offset);
    Atomics.store(this.memory.words, (at + WHOLE) >> 2, whole ? 1 : 0);
    Atomics.store(this.memory.words, (at + SHARES_TAKEN) >> 2, 0);
  }

  /**
   * Takes the next share of what a region has announced: 0, 1, … each goes to one rank alone. Between the `meet` that
   * follows `announce` and the one after it.
   *
   * @param announcement as `places` said
   */
  takeShare(region: number, announcement: number): number {
    return Atomics.add(this.memory.words, (this.#announcement(region, announcement) + SHARES_TAKEN) >> 2, 1);
  }

  /**
   * What was announced last. After the `meet` that follows `announce`, before the next.
   *
   * Never resolves when a neighbour makes another call: that is reported, and the group's failure ends the wait.
   */
  async places(signature: Uint8Array): Promise<Places> {
    const addresses: number[] = [];
    const announcement = this.#announced - 1;
    let whole = true;
    for (let region = 0; region < this.size; region++) {
      const at = this.#announcement(region, announcement);
      const theirs = this.memory.bytes.slice(at, at + SIGNATURE_BYTES);
      if (Buffer.compare(theirs, signature) !== 0) {
        this.report(differentCalls(this.ranks[region]!, theirs, this.ranks[this.memory.region]!, signature));
        return this.#untilFailure();
      }
      const offset = Atomics.load(this.memory.words, (at + OFFSET) >> 2) >>> 0;
      addresses.push(this.memory.regionStart(region) + offset);
      whole &&= Atomics.load(this.memory.words, (at + WHOLE) >> 2) === 1;
    }
    return { addresses, whole, announcement };
  }

  /** Everything written before is seen by every neighbour afterwards. */
  async meet(): Promise<void> {
    this.#phase = (this.#phase + 1) | 0;
    const { words, region } = this.memory;
    const own = this.memory.regionStart(region);
    Atomics.store(words, (own >> 2) + PHASE, this.#phase);
    if (Atomics.load(words, (own >> 2) + SLEEPERS) > 0) this.sleeper?.wake(own + PHASE * 4);
    // The next one first: neighbours do not all look at the same flag.
    for (let step = 1; step < this.size; step++) {
      const other = (region + step) % this.size;
      if (!this.#reached(other)) await this.#wait(other);
    }
    if (this.#failure) throw this.#failure;
    this.meetings++;
  }

  #reached(region: number): boolean {
    const phase = Atomics.load(this.memory.words, (this.memory.regionStart(region) >> 2) + PHASE);
    return ((phase - this.#phase) | 0) >= 0;
  }

  async #wait(region: number): Promise<void> {
    this.waitingFor = this.ranks[region];
    if (this.sleeper) {
      const until = performance.now() + SPIN_MS;
      while (performance.now() < until) {
        for (let i = 0; i < 200; i++) if (this.#reached(region)) return this.#arrived();
        this.sleeper.yieldCore(); // the neighbour may need this very core to arrive
      }
    }
    const address = this.memory.regionStart(region);
    const { words } = this.memory;
    const rank = this.ranks[region]!;
    while (!this.#reached(region)) {
      if (this.#failure) throw this.#failure;
      if (this.#left.has(rank)) {
        this.report({ code: 'unavailable', rank, message: `rank ${rank} has left the group` });
        await this.#untilFailure();
      }
      if (this.sleeper) {
        Atomics.add(words, (address >> 2) + SLEEPERS, 1);
        const seen = Atomics.load(words, (address >> 2) + PHASE);
        if (!this.#reached(region)) this.sleeper.sleep(address + PHASE * 4, seen, SLEEP_MS);
        Atomics.sub(words, (address >> 2) + SLEEPERS, 1);
        if (this.#reached(region)) break;
      }
      await nextTurn(); // heartbeats go on, and news of a failure comes in
    }
    this.#arrived();
  }

  #arrived(): void {
    this.waitingFor = undefined;
  }

  async #untilFailure(): Promise<never> {
    while (!this.#failure) await nextTurn();
    throw this.#failure;
  }

  #announcement(region: number, index: number): number {
    return this.memory.regionStart(region) + ANNOUNCEMENTS + (index & 1) * ANNOUNCEMENT_BYTES;
  }
}
