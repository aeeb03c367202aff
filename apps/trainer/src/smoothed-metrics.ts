import type { Metrics } from './stage.ts';

/** Share of the newest step. */
const SHARE = 0.05;

/** Exponentially smoothed figures of the last steps. One that is not finite is left out: it would stay for good. */
export class SmoothedMetrics {
  readonly #values = new Map<string, number>();

  add(metrics: Metrics): void {
    for (const [name, value] of Object.entries(metrics)) {
      if (!Number.isFinite(value)) continue;
      const before = this.#values.get(name) ?? value;
      this.#values.set(name, before + SHARE * (value - before));
    }
  }

  get values(): Metrics {
    return Object.fromEntries(this.#values);
  }
}
