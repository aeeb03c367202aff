import { gradients, type Target } from '@clip-gen/autodiff';
import { encodeModel, usedParameters, type GraphBuilder, type Value } from '@clip-gen/graph';
import { createSession, nativeChannelBlock, type Session } from '@clip-gen/runtime';
import type { Tensor } from '@clip-gen/tensor';
import { gradientName } from './trainable.ts';

/** Adds the gradients of `targets` by `parameters` as outputs `grad.<name>`. */
export function outputGradients(
  graph: GraphBuilder,
  targets: readonly Target[] | Value,
  parameters: readonly string[],
): void {
  const byName = new Map(graph.parameters.map(({ name, value }) => [name, value]));
  const values = parameters.map((name) => byName.get(name)!);
  gradients(targets, values).forEach((gradient, i) => graph.output(gradientName(parameters[i]!), gradient));
}

/** A compiled training graph: parameters and batch in, losses and gradients out, written in place. */
export class StepGraph {
  readonly #session: Session;
  readonly #parameters: readonly string[];
  readonly #outputs: ReadonlySet<string>;

  private constructor(session: Session, parameters: readonly string[]) {
    this.#session = session;
    this.#parameters = parameters;
    this.#outputs = new Set(session.outputs.map(({ name }) => name));
  }

  /** @param threads 0 = all cores */
  static async compile(graph: GraphBuilder, threads: number): Promise<StepGraph> {
    const model = encodeModel(graph, { channelBlock: await nativeChannelBlock() });
    // A training usually has the machine to itself: its threads spin between operators rather than sleep.
    const session = await createSession(model, { spin: true, ...(threads > 0 ? { threads } : {}) });
    return new StepGraph(session, usedParameters(graph));
  }

  /**
   * @param values every parameter by name; those that the graph does not use are left out
   * @param feeds the batch
   * @param into buffers of outputs that are written in place; those that are not outputs are left out
   */
  run(
    values: Readonly<Record<string, Tensor>>,
    feeds: Readonly<Record<string, Tensor>>,
    into: Readonly<Record<string, Tensor>> = {},
  ): Promise<Record<string, Tensor>> {
    const all: Record<string, Tensor> = { ...feeds };
    for (const name of this.#parameters) all[name] = values[name]!;
    const own = Object.fromEntries(Object.entries(into).filter(([name]) => this.#outputs.has(name)));
    return this.#session.run(all, { into: own });
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** A scalar result as a number. */
export function scalarOf(outputs: Readonly<Record<string, Tensor>>, name: string): number {
  return Number(outputs[name]!.data[0]);
}
