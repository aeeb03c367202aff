import { RandomStream } from '@clip-gen/rng';
import type { ParameterArena } from '@clip-gen/optimizer';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import type { World } from '../distributed/world.ts';
import type { RoundEnd } from '../stage.ts';
import { STREAMS } from '../streams.ts';

const CODEBOOK = 'quantizer.embedding.weight';

/**
 * Counts which codes are chosen and moves those that no latent chose within a window to latents of the current batch,
 * so that the whole codebook comes to use. The counts belong to the checkpoint.
 */
export class CodebookUsage {
  /** How often each code was chosen since the window began, int32 (K). */
  readonly tensor: Tensor<'int32'>;
  /** What this process counted since all met. */
  readonly #own: Float32Array;

  constructor(
    codebookSize: number,
    readonly windowSteps: number,
    readonly seed: number,
  ) {
    this.tensor = emptyTensor('int32', [codebookSize]);
    this.#own = new Float32Array(codebookSize);
  }

  get counts(): Tensor<'int32'>['data'] {
    return this.tensor.data;
  }

  /** Counts one batch, of all processes. @param tokens this process's chosen codes, int64, in any number of tensors */
  async count(tokens: readonly Tensor[], world: World): Promise<void> {
    const { counts } = this;
    const fresh = new Float32Array(counts.length);
    for (const { data } of tokens) for (const token of data as BigInt64Array) fresh[Number(token)]!++;
    await world.sum(fresh);
    for (let code = 0; code < counts.length; code++) counts[code]! += fresh[code]!;
    if (world.size === 1) fresh.forEach((count, code) => (this.#own[code]! += count));
  }

  /**
   * The end of a round of local steps, in each of which a process counted its own batch: all counts become those of all.
   * Where a window ended with one of the steps, unused codes move to latents of the root's last batch.
   *
   * @param latents those of the root's, at the root alone
   */
  async settle(
    arena: ParameterArena,
    latents: { readonly rows: Tensor<'float32'>; readonly tokens: Tensor } | undefined,
    world: World,
    { root, from, steps }: RoundEnd,
  ): Promise<void> {
    const { counts } = this;
    const all = this.#own.slice();
    await world.sum(all);
    for (let code = 0; code < counts.length; code++) counts[code]! += all[code]! - this.#own[code]!;
    this.adopted();
    if (!Array.from({ length: steps }, (_, i) => from + i).some((step) => this.isDue(step))) return;
    if (latents) this.revive(arena, latents.rows, latents.tokens, from + steps - 1);
    else this.#forgetUnused(arena);
    const averages = arena.averages.get(CODEBOOK);
    await world.broadcast([arena.values.get(CODEBOOK)!, ...(averages ? [averages] : [])], root);
  }

  /** The counts have come from another process. */
  adopted(): void {
    this.#own.fill(0);
  }

  /** What `revive` does to the moments, where another process does the rest. */
  #forgetUnused(arena: ParameterArena): void {
    const moments = [arena.firstMoments.get(CODEBOOK)!, arena.secondMoments.get(CODEBOOK)!];
    for (const { data, shape } of moments) {
      const width = shape[1]!;
      this.counts.forEach((count, code) => {
        if (count === 0) data.fill(0, code * width, (code + 1) * width);
      });
    }
    this.counts.fill(0);
  }

  /** Share of the codes that were chosen since the window began. */
  get used(): number {
    return this.counts.filter((count) => count > 0).length / this.counts.length;
  }

  /** Whether a window ends with this step: early ones are short, since all codes start in one place. */
  isDue(globalStep: number): boolean {
    if (this.windowSteps === 0) return false;
    const step = globalStep + 1;
    return step % this.windowSteps === 0 || (step < this.windowSteps && (step & (step - 1)) === 0);
  }

  /**
   * Moves unused codes to latents of the batch and forgets their optimiser moments; begins a new window. A latent is
   * drawn in proportion to its squared distance from the nearest code, those just moved included (k-means++, Arthur and
   * Vassilvitskii 2007): codes go where the codebook is worst, not where latents are many. The draws are a function of
   * (seed, global step).
   *
   * @param rows latents of the current batch (N, C)
   * @param tokens their codes, int64 (N)
   * @returns how many codes moved
   */
  revive(arena: ParameterArena, rows: Tensor<'float32'>, tokens: Tensor, globalStep: number): number {
    const width = rows.shape[1]!;
    const codes = arena.values.get(CODEBOOK)!.data;
    const moments = [arena.firstMoments.get(CODEBOOK)!.data, arena.secondMoments.get(CODEBOOK)!.data];
    const averages = arena.averages.get(CODEBOOK)?.data;
    const stream = new RandomStream(this.seed, STREAMS.revivedCodes, globalStep);
    const latent = (row: number): Float32Array => rows.data.subarray(row * width, (row + 1) * width);
    const distances = Float64Array.from(tokens.data as BigInt64Array, (token, row) => {
      const code = Number(token) * width;
      return squaredDistance(latent(row), codes.subarray(code, code + width));
    });
    let moved = 0;
    const { counts } = this;
    for (let code = 0; code < counts.length; code++) {
      if (counts[code]! > 0) continue;
      const chosen = latent(drawInProportion(distances, stream.uniform()));
      codes.set(chosen, code * width);
      averages?.set(chosen, code * width);
      for (const moment of moments) moment.fill(0, code * width, (code + 1) * width);
      distances.forEach((distance, row) => {
        if (distance > 0) distances[row] = Math.min(distance, squaredDistance(latent(row), chosen));
      });
      moved++;
    }
    counts.fill(0);
    return moved;
  }
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum;
}

/** An index with probability weights[i] / Σ weights; any index alike when all are 0. @param uniform in [0, 1) */
function drawInProportion(weights: Float64Array, uniform: number): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return Math.floor(uniform * weights.length);
  let rest = uniform * total;
  for (let i = 0; i < weights.length; i++) {
    rest -= weights[i]!;
    if (rest < 0) return i;
  }
  return weights.length - 1;
}
