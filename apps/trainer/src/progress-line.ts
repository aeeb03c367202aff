import type { Metrics } from './stage.ts';

export interface ProgressSnapshot {
  readonly stage: string;
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly stepsPerEpoch: number;
  readonly metrics: Metrics;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

/** Where lines go: `process.stdout`, or anything like it. */
export interface LineTarget {
  write(text: string): unknown;
  /** A terminal, on which a line can be rewritten. */
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/**
 * One line that tells how a training goes; rewritten in place on a terminal, printed now and then elsewhere. It is never
 * why a training ends: a target that cannot be written any more is left alone.
 */
export class ProgressLine {
  #lastPrint = 0;
  #open = false;
  #silent = false;

  constructor(
    readonly out: LineTarget,
    readonly secondsBetweenLines = 30,
    /** Told once when the target can no longer be written. */
    readonly onLost?: () => void,
  ) {}

  /** Writes no more: nobody reads. */
  silence(): void {
    this.#silent = true;
  }

  update(snapshot: ProgressSnapshot): void {
    const now = performance.now();
    if (this.out.isTTY) {
      if (now - this.#lastPrint < 200) return;
      this.#write(`\r\u001b[2K${formatProgress(snapshot, this.out.columns)}`);
      this.#open = true;
    } else {
      if (this.#lastPrint > 0 && now - this.#lastPrint < this.secondsBetweenLines * 1000) return;
      this.#write(`${formatProgress(snapshot)}\n`);
    }
    this.#lastPrint = now;
  }

  /** A line of its own, above the progress. */
  print(message: string): void {
    this.#write(`${this.#open ? '\r\u001b[2K' : ''}${message}\n`);
    this.#open = false;
  }

  #write(text: string): void {
    if (this.#silent) return;
    try {
      this.out.write(text);
    } catch {
      this.silence();
      this.onLost?.();
    }
  }
}

/** `vqgan  epoch 3/40 ▕████░░░░▏ 52 %  loss 0.0812  psnr 22.1  96 images/s  11 min left` */
export function formatProgress(snapshot: ProgressSnapshot, columns = 200): string {
  const share = snapshot.stepsPerEpoch > 0 ? snapshot.step / snapshot.stepsPerEpoch : 1;
  const filled = Math.round(share * 12);
  const bar = `▕${'█'.repeat(filled)}${'░'.repeat(12 - filled)}▏`;
  const values = Object.entries(snapshot.metrics).map(([name, value]) => `${name} ${value.toPrecision(4)}`);
  const parts = [
    snapshot.stage,
    `epoch ${snapshot.epoch + 1}/${snapshot.epochs} ${bar} ${Math.floor(share * 100)} %`,
    ...values,
    `${snapshot.imagesPerSecond.toFixed(0)} images/s`,
    `${formatDuration(snapshot.secondsLeft)} left`,
  ];
  return parts.join('  ').slice(0, Math.max(20, columns - 1));
}

/** `42 s`, `11 min`, `3 h 20 min` */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
