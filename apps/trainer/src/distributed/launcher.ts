import { STOPPED_EXIT_CODE } from '../stop-signal.ts';
import { rankVariables, type RankEnvironment } from './rank-environment.ts';
import { RankProcess, type RankEnd } from './rank-process.ts';

export interface LaunchOptions extends Pick<RankEnvironment, 'worldSize' | 'rendezvous' | 'token'> {
  /** Program and arguments of every rank. */
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Rank of the first process of this host. */
  readonly firstRank: number;
  /** Processes of this host. */
  readonly localWorldSize: number;
  /** Lost processes of this host that are started again. */
  readonly maxRestarts: number;
  /** Where lines about the processes go. */
  readonly print: (line: string) => void;
}

/** After one process has failed, the others have so long to leave. */
const LEAVE_MS = 10_000;

/**
 * Starts this host's ranks and waits for them. A request to stop is passed on to all; when one fails, the others are
 * ended.
 *
 * @returns the exit code: 0 or 75 when all ended so, else that of the first that failed
 */
export class Launcher {
  readonly #options: LaunchOptions;
  readonly #ranks = new Map<number, RankProcess>();
  readonly #printed = new Set<string>();
  #restartsLeft: number;
  #stopped = false;
  #failure: number | undefined;

  constructor(options: LaunchOptions) {
    this.#options = options;
    this.#restartsLeft = options.maxRestarts;
  }

  async run(): Promise<number> {
    const { firstRank, localWorldSize } = this.#options;
    const forward = (signal: NodeJS.Signals): void => {
      this.#stopped = true;
      for (const rank of this.#ranks.values()) rank.signal(signal);
    };
    const signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGUSR1'];
    for (const signal of signals) process.on(signal, forward);
    try {
      const ranks = Array.from({ length: localWorldSize }, (_, i) => firstRank + i);
      const codes = await Promise.all(ranks.map((rank) => this.#supervise(rank)));
      return this.#failure ?? (codes.includes(STOPPED_EXIT_CODE) ? STOPPED_EXIT_CODE : 0);
    } finally {
      for (const signal of signals) process.off(signal, forward);
    }
  }

  /** Runs a rank to its end, again where it was lost. @returns its last exit code */
  async #supervise(rank: number): Promise<number> {
    let isSpared = false;
    for (let epoch = 0; ;) {
      const started = this.#start(rank, epoch);
      const end = await started.ended;
      isSpared ||= started.isSpared;
      if (end.code === 0 || end.code === STOPPED_EXIT_CODE) return end.code;
      const lost = end.signal !== null && this.#failure === undefined && !this.#stopped;
      if (lost && this.#restartsLeft > 0) {
        this.#restartsLeft--;
        epoch = Math.max(0, ...[...this.#ranks.values()].map((other) => other.epoch ?? -1)) + 1;
        const joins = isSpared ? 'at the end of a round' : `as epoch ${epoch}`;
        this.#options.print(
          `rank ${rank} was lost (${end.signal}): it is started again and joins ${joins}; restarts left: ${this.#restartsLeft}`,
        );
        continue;
      }
      // Also one that was started again and did not get in. What fails of its own accord once it is in ends all.
      if (isSpared && (lost || (!started.isSpared && this.#failure === undefined))) {
        for (const line of started.lines) this.#options.print(`[rank ${rank}] ${line}`);
        this.#options.print(`rank ${rank} ${howItEnded(end)}; the others go on without it`);
        return 0;
      }
      return this.#fail(started, end);
    }
  }

  #start(rank: number, epoch: number): RankProcess {
    const { command, env, firstRank, maxRestarts } = this.#options;
    const variables = rankVariables({
      ...this.#options,
      rank,
      epoch,
      localRank: rank - firstRank,
      elastic: maxRestarts > 0,
    });
    const prefix = rank === 0 ? '' : `[rank ${rank}] `;
    const started = new RankProcess(rank, command, { ...env, ...variables }, rank === 0, (line) => {
      if (this.#printed.has(line)) return; // all ranks fail alike at a flag that cannot be used: once is enough
      this.#printed.add(line);
      this.#options.print(`${prefix}${line}`);
    });
    this.#ranks.set(rank, started);
    return started;
  }

  /** The first failure ends the others: the training cannot go on without one. */
  #fail(failed: RankProcess, { code, signal }: RankEnd): number {
    if (this.#failure !== undefined) return this.#failure;
    this.#failure = code ?? 1;
    for (const line of failed.lines) this.#options.print(`[rank ${failed.rank}] ${line}`);
    this.#options.print(`rank ${failed.rank} ${howItEnded({ code, signal })}; the others are ended too`);
    const others = [...this.#ranks.values()].filter((rank) => rank !== failed);
    const timers = (['SIGTERM', 'SIGKILL'] as const).map((name, i) =>
      setTimeout(
        () => {
          for (const rank of others) rank.signal(name);
        },
        (i + 1) * LEAVE_MS,
      ),
    );
    void Promise.all(others.map(({ ended }) => ended)).then(() => timers.forEach(clearTimeout));
    return this.#failure;
  }
}

function howItEnded({ code, signal }: RankEnd): string {
  return signal === null ? `failed with exit code ${code}` : `was ended by ${signal}`;
}
