import { ClipGenError } from '@clip-gen/errors';
import type { Metrics } from '@clip-gen/telemetry';

/** How much runs and waits. */
export interface WorkQueueOptions {
  /** For messages and as the metrics' label. */
  readonly name: string;
  /** Pieces of work that run at once. */
  readonly concurrency: number;
  /** Pieces that may wait; 0 refuses what cannot start at once. */
  readonly maxWaiting: number;
  /** Default: none. */
  readonly metrics?: Metrics;
}

/** A place at work. Whoever entered leaves, in a `finally`; leaving twice does nothing. */
export interface Turn {
  /** Milliseconds from `enter` to the turn. */
  readonly queuedMs: number;
  leave(): void;
}

/** Bounds of the estimate that refused callers get. */
const SOONEST_MS = 50;
const LATEST_MS = 60_000;
/** The estimate while nothing has finished yet. */
const UNKNOWN_MS = 1_000;
/** Weight of the newest duration in the running mean. */
const NEWEST = 0.2;

/** First in, first out: so much work at once, and a bounded number of callers that wait for it. */
export class WorkQueue {
  private readonly waiters = new Set<() => void>();
  private readonly series: QueueMetrics | undefined;
  private active = 0;
  private meanMs: number | undefined;

  constructor(private readonly options: WorkQueueOptions) {
    this.series = options.metrics && queueMetrics(options.metrics, options.name);
  }

  /** Pieces of work that run. */
  get running(): number {
    return this.active;
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.waiters.size;
  }

  /** Milliseconds, in [50, 60,000], after which a place is likely free, by how long recent work took. */
  get retryAfterMs(): number {
    const mean = this.meanMs ?? UNKNOWN_MS;
    const ahead = this.waiters.size + 1;
    return Math.round(Math.min(LATEST_MS, Math.max(SOONEST_MS, (mean * ahead) / this.options.concurrency)));
  }

  /**
   * Does `work` when its turn comes.
   *
   * @param signal while waiting, its abort leaves the queue; `work` gets it for its own use
   * @throws ClipGenError `resource_exhausted` with `retryAfterMs` when too many wait; `cancelled` when aborted in the
   * queue; whatever `work` throws
   */
  async run<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const turn = await this.enter(signal);
    try {
      return await work(signal);
    } finally {
      turn.leave();
    }
  }

  /**
   * Waits for a turn: `run` for work that is no single promise, such as a generator's.
   *
   * @throws ClipGenError as `run`
   */
  async enter(signal: AbortSignal): Promise<Turn> {
    const enteredAt = performance.now();
    if (signal.aborted) throw this.cancelled();
    // Those who wait go first, even where a place is free at this very moment.
    if (this.active < this.options.concurrency && this.waiters.size === 0) this.active++;
    else await this.wait(signal);
    const startedAt = performance.now();
    this.series?.waited((startedAt - enteredAt) / 1_000);
    this.show();
    let left = false;
    return {
      queuedMs: startedAt - enteredAt,
      leave: () => {
        if (left) return;
        left = true;
        const ms = performance.now() - startedAt;
        this.meanMs = this.meanMs === undefined ? ms : this.meanMs + NEWEST * (ms - this.meanMs);
        this.active--;
        this.next();
      },
    };
  }

  private wait(signal: AbortSignal): Promise<void> {
    const { name, maxWaiting } = this.options;
    if (this.waiters.size >= maxWaiting) {
      this.series?.refused();
      const { retryAfterMs } = this;
      const message = `${name} is busy: ${this.active} running, ${this.waiters.size} waiting; try again in ${retryAfterMs} ms`;
      return Promise.reject(new ClipGenError('resource_exhausted', message, { retryAfterMs }));
    }
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener('abort', giveUp);
        this.active++; // at once: the place is taken before anyone else can see it free
        resolve();
      };
      const giveUp = (): void => {
        this.waiters.delete(start);
        this.show();
        reject(this.cancelled());
      };
      this.waiters.add(start); // a Set keeps the order and forgets in constant time
      signal.addEventListener('abort', giveUp, { once: true });
      this.show();
    });
  }

  private next(): void {
    const [first] = this.waiters;
    if (first !== undefined && this.active < this.options.concurrency) {
      this.waiters.delete(first);
      first();
    }
    this.show();
  }

  private show(): void {
    this.series?.show(this.active, this.waiters.size);
  }

  private cancelled(): ClipGenError {
    return new ClipGenError('cancelled', `the caller left before ${this.options.name} could start`);
  }
}

type QueueMetrics = ReturnType<typeof queueMetrics>;

function queueMetrics(metrics: Metrics, queue: string) {
  const labels = ['queue'] as const;
  const refused = metrics.counter({
    name: 'clip_gen_queue_refused_total',
    help: 'Work refused because too much waits.',
    labels,
  });
  const waited = metrics.histogram({ name: 'clip_gen_queue_wait_seconds', help: 'Time that work waited.', labels });
  const running = metrics.gauge({ name: 'clip_gen_queue_running', help: 'Work that runs now.', labels });
  const waiting = metrics.gauge({ name: 'clip_gen_queue_waiting', help: 'Work that waits now.', labels });
  return {
    refused: (): void => refused.inc({ queue }),
    waited: (seconds: number): void => waited.observe({ queue }, seconds),
    show(active: number, queued: number): void {
      running.set({ queue }, active);
      waiting.set({ queue }, queued);
    },
  };
}
