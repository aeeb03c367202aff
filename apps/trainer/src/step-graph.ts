import { gradients, type Target } from '@clip-gen/autodiff';
import { encodeSegments, type GraphBuilder, type OutputGroup, type PassedTensor, type Value } from '@clip-gen/graph';
import { createSession, nativeChannelBlock, type Session } from '@clip-gen/runtime';
import { elementCount, emptyTensor, type DType, type Tensor, type TensorData } from '@clip-gen/tensor';
import type { World } from './distributed/world.ts';
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

/** How a training graph is cut. */
export interface StepOptions {
  /** Outputs whose completion is told, e.g. the gradients that travel together. */
  readonly groups?: readonly OutputGroup[];
  /** Segments at most, besides those of groups that stand apart. Default 1: the whole graph is optimised as one. */
  readonly segments?: number;
}

/** Gradients come in so many parts at most: each is a session of its own. */
const MOST_SEGMENTS = 16;
/** Bridges the gaps between operators. */
const SPIN_MICROSECONDS = 50;

/**
 * How a graph with these groups of gradients is cut: where there are other machines, so that the first gradients travel
 * while the last are computed. Processes of one machine exchange them by its processor, which nothing hides.
 */
export function trainingCuts(
  groups: readonly OutputGroup[],
  { crossesHosts }: Pick<World, 'crossesHosts'>,
): StepOptions {
  return { groups, segments: crossesHosts ? Math.min(groups.length, MOST_SEGMENTS) : 1 };
}

/**
 * Told that all outputs of a group are written, while the rest waits: in the same order however many segments there
 * are. What it returns are further inputs of the segments to come.
 */
export type OnGroup = (group: number, written: Tensors) => void | Promise<Tensors | void>;

type Tensors = Readonly<Record<string, Tensor>>;

interface Segment {
  readonly session: Session;
  readonly completes: readonly number[];
  /** Where it writes what only later segments read; kept from run to run. */
  readonly passes: Tensors;
}

/** A compiled training graph: parameters and batch in, losses and gradients out, written in place. */
export class StepGraph {
  readonly #segments: readonly Segment[];

  private constructor(segments: readonly Segment[]) {
    this.#segments = segments;
  }

  /** @param threads 0 = all cores */
  static async compile(
    graph: GraphBuilder,
    threads: number,
    { groups = [], segments = 1 }: StepOptions = {},
  ): Promise<StepGraph> {
    const encoded = encodeSegments(graph, groups, { segments, channelBlock: await nativeChannelBlock() });
    const outputs = new Set(graph.outputs.map(({ name }) => name));
    const passes = passedBuffers(encoded.passed.filter(({ name }) => !outputs.has(name)));
    // A training usually has the machine to itself: its threads spin between operators rather than sleep. Those of one
    // segment must not spin on while the next one runs.
    const isCut = encoded.segments.length > 1;
    const engine = { spin: isCut ? SPIN_MICROSECONDS : true, sharesMemory: isCut, ...(threads > 0 ? { threads } : {}) };
    const compiled: Segment[] = [];
    try {
      for (const [i, { model, completes }] of encoded.segments.entries()) {
        const session = await createSession(model, engine);
        compiled.push({ session, completes, passes: passes[i] ?? {} });
      }
    } catch (error) {
      for (const { session } of compiled) await session.close();
      throw error;
    }
    return new StepGraph(compiled);
  }

  /** Sessions that a run goes through, one after the other. */
  get segments(): number {
    return this.#segments.length;
  }

  /**
   * @param values every parameter by name; those that the graph does not use are left out
   * @param feeds the batch
   * @param into buffers of outputs that are written in place; those that are not outputs are left out
   */
  async run(values: Tensors, feeds: Tensors, into: Tensors = {}, onGroup?: OnGroup): Promise<Record<string, Tensor>> {
    let known: Tensors = feeds;
    const results: Record<string, Tensor> = {};
    for (const { session, completes, passes } of this.#segments) {
      const given = Object.fromEntries(session.inputs.map(({ name }) => [name, (known[name] ?? values[name])!]));
      const own = session.outputs.flatMap(({ name }) => {
        const buffer = into[name] ?? passes[name];
        return buffer ? [[name, buffer] as const] : [];
      });
      const written = await session.run(given, { into: Object.fromEntries(own) });
      for (const [name, value] of Object.entries(written)) if (!passes[name]) results[name] = value;
      known = { ...known, ...written };
      for (const group of completes) known = { ...known, ...(await onGroup?.(group, known)) };
    }
    return results;
  }

  async close(): Promise<void> {
    for (const { session } of this.#segments) await session.close();
  }
}

/** Where each segment writes what it passes on, by name. A buffer is used again when its last reader has run. */
function passedBuffers(passed: readonly PassedTensor[]): Record<string, Tensor>[] {
  const bySegment: Record<string, Tensor>[] = [];
  const lent: { readonly data: TensorData; readonly until: number; readonly dtype: DType }[] = [];
  for (const { name, dtype, shape, from, until } of passed.toSorted((a, b) => a.from - b.from)) {
    const length = elementCount(shape);
    const free = lent.findIndex(
      (buffer) => buffer.until < from && buffer.dtype === dtype && buffer.data.length === length,
    );
    const data = free < 0 ? emptyTensor(dtype, shape).data : lent.splice(free, 1)[0]!.data;
    lent.push({ data, until, dtype });
    (bySegment[from] ??= {})[name] = { dtype, shape, data };
  }
  return bySegment;
}

/** A scalar result as a number. */
export function scalarOf(outputs: Readonly<Record<string, Tensor>>, name: string): number {
  return Number(outputs[name]!.data[0]);
}
