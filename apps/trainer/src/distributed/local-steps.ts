import type { Tensor } from '@clip-gen/tensor';
import type { Progress } from '../checkpoint.ts';
import type { LocalStepsSettings } from '../config.ts';
import type { RoundState } from '../stage.ts';
import { OuterParameters } from './outer-parameters.ts';
import type { World } from './world.ts';

/** What a process brings to a meeting. */
export interface Standing {
  readonly place: Progress;
  /** Whether an epoch has ended whose validation comes with this meeting. */
  readonly validates: boolean;
  /** Whether it was asked to stop. */
  readonly stops: boolean;
  /** Whether a checkpoint is due: rank 0 says so. */
  readonly saves: boolean;
}

/** What they agreed on, the same on all of them. */
export interface Meeting extends Standing {
  /** Whether this process took the outer parameters of the others: it goes on from `place`. */
  readonly moved: boolean;
  /** Ranks whose deltas the outer step was made of. */
  readonly contributors: readonly number[];
  /** Length of this process's way since the last round. */
  readonly distance: number;
  readonly milliseconds: number;
}

export interface LocalStepsOptions {
  readonly world: World;
  readonly state: RoundState;
  readonly settings: LocalStepsSettings;
  readonly print: (line: string) => void;
  /** Brings together those who are there. */
  readonly rejoin: () => Promise<void>;
  /** Restores what this process itself kept at that step, if it did. @returns whether it did */
  readonly recall: (globalStep: number) => Promise<boolean>;
}

/** Of one attempt. */
interface Outcome extends Omit<Meeting, 'distance' | 'milliseconds'> {
  /** Whether somebody waits to be let in. */
  readonly isAwaited: boolean;
}

/** Where a process stands, as the others are told. */
interface Header {
  /** The step that its outer parameters are of; −1 = none yet. */
  readonly boundary: number;
  readonly digest: number;
  /** Steps that it has taken since. */
  readonly open: number;
  readonly isFinite: boolean;
  readonly stops: boolean;
  readonly saves: boolean;
  readonly isAwaited: boolean;
}

/**
 * DiLoCo (Douillard et al., arXiv 2311.08105): each process takes H steps of its own optimiser alone; then the outer
 * optimiser moves the parameters that all began with by the mean of what they made of them, and all go on from there.
 * The moments of the inner optimiser stay where they are.
 *
 * Processes may come and go between rounds. Whoever brings other outer parameters than the one that has come furthest
 * takes that one's; nobody's work counts in a round that it did not begin with the others.
 */
export class LocalSteps {
  readonly #options: LocalStepsOptions;
  readonly #outer: OuterParameters;
  #boundary = -1;
  #broken = false;

  constructor(options: LocalStepsOptions) {
    this.#options = options;
    const { trainables } = options.state;
    const values = trainables.flatMap(({ arena }) => arena.ranges('values'));
    this.#outer = new OuterParameters(values, options.settings);
  }

  /** Whether the round ends with the step that was the last so far. @param isLast of the whole training */
  isDue(globalStep: number, isLast: boolean): boolean {
    return isLast || globalStep % this.#options.settings.steps === 0;
  }

  /** Whether the processes have met at this step. */
  isBetweenRounds(globalStep: number): boolean {
    return this.#boundary === globalStep;
  }

  /** This process holds outer parameters: those it starts with, or those of a checkpoint. */
  begin(globalStep: number, saved?: ReadonlyMap<string, Tensor>): void {
    if (saved) this.#outer.restore(saved);
    else this.#outer.adopt();
    this.#boundary = globalStep;
  }

  /** What a checkpoint must keep besides the stage's own. */
  tensors(): Iterable<readonly [string, Tensor]> {
    return this.#outer.tensors();
  }

  /** The next meeting begins by coming together again: a process was lost. */
  lose(): void {
    this.#broken = true;
  }

  /**
   * Ends a round, or begins the first: all processes that are there make the call. A loss meanwhile costs the share of
   * the lost one; the others go on from what they hold.
   *
   * @throws what `rejoin` throws, and what is not a loss
   */
  async meet(own: Standing): Promise<Meeting> {
    const { world, print } = this.#options;
    const start = performance.now();
    const distance = this.#outer.distance;
    const before = world.members;
    let standing = own;
    let result: Outcome;
    let contributors: readonly number[] = [];
    let moved = false;
    for (;;) {
      try {
        if (this.#broken) {
          // Others may have got further than this process before the loss: none can say any more what is due.
          standing = { ...standing, validates: false };
          await this.#options.rejoin();
          this.#broken = false;
        }
        result = await this.#meetOnce(standing);
        standing = { ...standing, place: result.place, validates: result.validates };
        moved ||= result.moved;
        if (result.contributors.length > 0) contributors = result.contributors;
        if (!result.isAwaited) break;
        await this.#options.rejoin();
      } catch (error) {
        if (!world.isLoss(error)) throw error;
        print(`${(error as Error).message}; the others go on with those who are there`);
        this.#broken = true;
      }
    }
    this.#tellChanges(before);
    return { ...result, moved, contributors, distance, milliseconds: performance.now() - start };
  }

  #tellChanges(before: readonly number[]): void {
    const { world, print } = this.#options;
    const left = before.filter((rank) => !world.members.includes(rank));
    const come = world.members.filter((rank) => !before.includes(rank));
    if (left.length === 0 && come.length === 0) return;
    const changes = [
      ...(left.length > 0 ? [`without ${ranks(left)}`] : []),
      ...(come.length > 0 ? [`with ${ranks(come)}`] : []),
    ];
    print(`${world.members.length} of ${world.size} processes go on, ${changes.join(', ')} from here`);
  }

  async #meetOnce(own: Standing): Promise<Outcome> {
    const { world, print } = this.#options;
    const headers = await this.#headers(own);
    const rootPlace = furthest(headers);
    const root = headers[rootPlace]!;
    const place = world.members.indexOf(world.rank);
    const isCurrent = headers.map((header) => isEqual(header, root));
    const contributes = headers.map((header, i) => isCurrent[i]! && header.open > 0 && header.isFinite);
    if (root.open > 0) {
      if (contributes.includes(true)) await this.#outer.step(world, contributes, place);
      else this.#outer.revert();
      this.#boundary = root.boundary + root.open;
      this.#sayWhoMissed(headers, isCurrent);
      await this.#settle(rootPlace, root);
    }
    this.#boundary = root.boundary + root.open;
    let standing: Pick<Standing, 'place' | 'validates'> = own;
    if (isCurrent.includes(false)) standing = await this.#bringUpToDate(standing, rootPlace, !isCurrent[place]!);
    const late = world.members.filter((_, i) => !isCurrent[i]);
    if (late.length > 0 && root.boundary + root.open > 0) print(`${ranks(late)} took the outer parameters`);
    return {
      place: standing.place,
      validates: standing.validates,
      stops: headers.some(({ stops }) => stops),
      saves: headers[0]!.saves,
      isAwaited: headers[0]!.isAwaited,
      moved: !isCurrent[place]!,
      contributors: world.members.filter((_, i) => contributes[i]),
    };
  }

  /** Everybody's; rank 0 ends the wait for one that is too late. */
  async #headers({ place, stops, saves }: Standing): Promise<readonly Header[]> {
    const { world, settings, print } = this.#options;
    const open = this.#boundary < 0 ? 0 : place.globalStep - this.#boundary;
    const flags = [this.#outer.isFinite(), stops, saves, world.isAwaited].map(Number);
    const timer = setTimeout(() => {
      if (!world.isElastic || !world.isFirst) return;
      print(`waited ${settings.lateSeconds} s for the others at the end of a round`);
      world.giveUpLate();
    }, settings.lateSeconds * 1000);
    try {
      const all = await world.numbers([this.#boundary, this.#outer.digest(), open, ...flags]);
      return all.map(([boundary = -1, digest = 0, steps = 0, ...rest]) => {
        const [isFinite = false, stop = false, save = false, isAwaited = false] = rest.map(Boolean);
        return { boundary, digest, open: steps, isFinite, stops: stop, saves: save, isAwaited };
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #sayWhoMissed(headers: readonly Header[], isCurrent: readonly boolean[]): void {
    const { world, print } = this.#options;
    const broken = world.members.filter((_, i) => isCurrent[i] && !headers[i]!.isFinite);
    if (broken.length > 0) print(`the parameters of ${ranks(broken)} are not finite: they are left out of this round`);
  }

  /** What else the outer step moves: averages, and what the stage counts over all processes. */
  async #settle(rootPlace: number, { boundary, open }: Header): Promise<void> {
    const { world, state } = this.#options;
    for (const trainable of state.trainables) trainable.averageOver(boundary + open, open);
    const isRoot = world.members[rootPlace] === world.rank;
    await state.settle?.(world, { root: rootPlace, isRoot, from: boundary, steps: open });
    this.#outer.adopt();
  }

  /** Gives the state that all have in common to those who lack it. For the others it is theirs already, bit for bit. */
  async #bringUpToDate(
    { place, validates }: Pick<Standing, 'place' | 'validates'>,
    root: number,
    lacks: boolean,
  ): Promise<Pick<Standing, 'place' | 'validates'>> {
    const { world, state, recall } = this.#options;
    const given = await world.share({ place, validates }, root);
    const averages = state.trainables.flatMap(({ averages: own }) => own);
    await world.broadcastArrays([...this.#outer.shared, ...averages], root);
    await world.broadcast(state.shared, root);
    if (!lacks) return given;
    state.adopted?.();
    // One that took the same steps and lacks the outer step alone goes on with its own moments.
    if (place.globalStep === given.place.globalStep) {
      this.#outer.revert();
      return given;
    }
    const shared = this.#outer.shared.map((array) => array.slice());
    const own = averages.map((array) => array.slice());
    this.#outer.restart();
    for (const trainable of state.trainables) trainable.forget();
    if (await recall(given.place.globalStep)) {
      // What this process kept is of the same step; should it differ, the others' counts.
      this.#outer.shared.forEach((array, i) => array.set(shared[i]!));
      averages.forEach((array, i) => array.set(own[i]!));
      this.#outer.revert();
    }
    return given;
  }
}

/** Of several that are equally far, one that has taken steps since, and the first of those. */
function furthest(headers: readonly Header[]): number {
  let best = 0;
  for (const [i, { boundary, open }] of headers.entries()) {
    const first = headers[best]!;
    if (boundary > first.boundary || (boundary === first.boundary && open > first.open)) best = i;
  }
  return best;
}

function isEqual(one: Header, other: Header): boolean {
  return one.boundary === other.boundary && one.digest === other.digest && one.open === other.open;
}

function ranks(list: readonly number[]): string {
  return `${list.length === 1 ? 'rank' : 'ranks'} ${list.join(', ')}`;
}
