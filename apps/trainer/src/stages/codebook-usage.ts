import { RandomStream } from '@clip-gen/rng';
import type { ParameterArena } from '@clip-gen/optimizer';
import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import { STREAMS } from '../streams.ts';

const CODEBOOK = 'quantizer.embedding.weight';

/**
 * Counts which codes are chosen and moves those that no latent chose within a window to latents of the current batch,
 * so that the whole codebook comes to use. The counts belong to the checkpoint.
 */
export class CodebookUsage {
  /** How often each code was chosen since the window began, int32 (K). */
  readonly tensor: Tensor<'int32'>;

  constructor(
    codebookSize: number,
    readonly windowSteps: number,
    readonly seed: number,
  ) {
    this.tensor = emptyTensor('int32', [codebookSize]);
  }

  get counts(): Tensor<'int32'>['data'] {
    return this.tensor.data;
  }

  /** Counts one batch. @param tokens chosen codes, int64 */
  count(tokens: Tensor): void {
    const { counts } = this;
    for (const token of tokens.data as BigInt64Array) counts[Number(token)]!++;
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
   * Moves unused codes to randomly drawn rows and forgets their optimiser moments; begins a new window. The draws are
   * a function of (seed, global step).
   *
   * @param rows latents of the current batch (N, C)
   * @returns how many codes moved
   */
  revive(arena: ParameterArena, rows: Tensor<'float32'>, globalStep: number): number {
    const [rowCount, width] = rows.shape as [number, number];
    const codes = arena.values.get(CODEBOOK)!.data;
    const moments = [arena.firstMoments.get(CODEBOOK)!.data, arena.secondMoments.get(CODEBOOK)!.data];
    const averages = arena.averages.get(CODEBOOK)?.data;
    const stream = new RandomStream(this.seed, STREAMS.revivedCodes, globalStep);
    let moved = 0;
    const { counts } = this;
    for (let code = 0; code < counts.length; code++) {
      if (counts[code]! > 0) continue;
      const row = stream.integer(rowCount);
      const latent = rows.data.subarray(row * width, (row + 1) * width);
      codes.set(latent, code * width);
      averages?.set(latent, code * width);
      for (const moment of moments) moment.fill(0, code * width, (code + 1) * width);
      moved++;
    }
    counts.fill(0);
    return moved;
  }
}
