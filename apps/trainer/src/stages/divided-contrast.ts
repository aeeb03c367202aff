import { tensor, type Tensor } from '@clip-gen/tensor';
import type { BatchShare } from '../distributed/batch-share.ts';
import type { World } from '../distributed/world.ts';
import { scalarOf, StepGraph } from '../step-graph.ts';
import { ROWS, shareGraph } from './clip-graphs.ts';

type Tensors = Readonly<Record<string, Tensor>>;

/** What comes of a comparison. */
export interface Comparison {
  /** Of this process's rows, in nats: the mean over the processes is that of the batch. */
  readonly loss: number;
  /** The gradients at the rows of each run, as inputs of the graph that goes on from there. */
  readonly cotangents: readonly Tensors[];
}

/**
 * The contrastive loss of a batch that several runs or processes have: each process compares its own rows with the
 * gathered rows of all, and what that says about the others' rows goes back to them. Gradients come out so that their
 * mean over runs and processes is that of the whole batch.
 */
export class DividedContrast {
  readonly #share: BatchShare;
  readonly #width: number;
  readonly #threads: number;
  readonly #world: World;
  #graph: StepGraph | undefined;

  /** @param width of an embedding */
  constructor(share: BatchShare, width: number, threads: number, world: World) {
    this.#share = share;
    this.#width = width;
    this.#threads = threads;
    this.#world = world;
  }

  /**
   * @param values holds `logit_scale`
   * @param rows of each run of this process, {@link ROWS}
   * @param into where the gradient of `logit_scale` is written
   */
  async compare(values: Tensors, rows: readonly Tensors[], into: Tensors): Promise<Comparison> {
    const { whole, own, first, runs, run } = this.#share;
    const width = this.#width;
    this.#graph ??= await StepGraph.compile(shareGraph(own, whole, width, first, runs), this.#threads);
    const feeds: Record<string, Tensor> = {};
    for (const name of ROWS) {
      const data = joinedRows(rows, name);
      feeds[name] = tensor('float32', [own, width], data);
      feeds[`all_${name}`] = tensor('float32', [whole, width], await this.#world.gather(data));
    }
    const outputs = await this.#graph.run(values, feeds, into);
    const cotangents: Record<string, Tensor>[] = Array.from({ length: runs }, () => ({}));
    for (const name of ROWS) {
      const sum = await this.#world.sumOfOwn(floats(outputs[`grad.all_${name}`]!));
      floats(outputs[`grad.${name}`]!).forEach((value, i) => (sum[i]! += value));
      cotangents.forEach((inputs, i) => {
        const part = sum.subarray(i * run * width, (i + 1) * run * width);
        inputs[`from_${name}`] = tensor('float32', [run, width], part);
      });
    }
    return { loss: scalarOf(outputs, 'loss'), cotangents };
  }

  async close(): Promise<void> {
    await this.#graph?.close();
  }
}

/** Rows of several runs, one after the other. */
export function joinedRows(runs: readonly Tensors[], name: string): Float32Array<ArrayBuffer> {
  const parts = runs.map((outputs) => floats(outputs[name]!));
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function floats({ data }: Tensor): Float32Array<ArrayBuffer> {
  return data as Float32Array<ArrayBuffer>;
}
