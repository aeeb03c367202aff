/**
 * The cosine of two unit vectors of one length, in [−1, 1] up to rounding: summed in float64 in order, so that it is the
 * same number wherever it is computed.
 */
export function cosine(a: readonly number[], b: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** What was judged. */
export interface Judged<T> {
  readonly item: T;
  readonly score: number;
  readonly candidate: number;
}

/** Keeps the best `size` of what is added, best first; of equal scores the lower candidate comes first. */
export class Best<T> {
  readonly #kept: Judged<T>[] = [];

  constructor(readonly size: number) {}

  add(judged: Judged<T>): void {
    const after = this.#kept.findIndex((other) => isBetter(judged, other));
    this.#kept.splice(after === -1 ? this.#kept.length : after, 0, judged);
    if (this.#kept.length > this.size) this.#kept.pop();
  }

  get kept(): readonly Judged<T>[] {
    return this.#kept;
  }
}

function isBetter(a: Judged<unknown>, b: Judged<unknown>): boolean {
  return a.score > b.score || (a.score === b.score && a.candidate < b.candidate);
}
