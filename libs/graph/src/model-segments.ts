import { ClipGenError } from '@clip-gen/errors';
import type { DType, Tensor } from '@clip-gen/tensor';
import { blockConvolutions } from './blocked-convolution.ts';
import { staticShape } from './dim.ts';
import type { GraphBuilder } from './graph-builder.ts';
import type { ModelOptions } from './model-proto.ts';
import { constantProto, modelBytes, nodeProto, outputIdentity, outputNames, valueInfo } from './onnx-message.ts';
import { reachable } from './reachable.ts';
import type { Node, Value } from './value.ts';

/** Outputs that are wanted together, as early as can be. */
export interface OutputGroup {
  /** Names of outputs; those that the graph does not have are passed over, a group of such alone is complete at the end. */
  readonly outputs: readonly string[];
  /** A segment ends with the group even where there are fewer segments than groups. Default false. */
  readonly apart?: boolean;
}

/** How a graph is cut. */
export interface SegmentOptions extends Pick<ModelOptions, 'channelBlock'> {
  /** Segments at most, besides those that end with a group that stands apart. Default: one a group. */
  readonly segments?: number;
}

/** A stretch of the graph's nodes as a model of its own. */
export interface ModelSegment {
  readonly model: Uint8Array;
  /** Indices of the groups whose last output it writes, in the order in which the whole graph completes them. */
  readonly completes: readonly number[];
}

/** A tensor that one segment writes and later ones read, an input of theirs under the same name. */
export interface PassedTensor {
  /** The output's name where it is an output of the graph too. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Index of the segment that writes it. */
  readonly from: number;
  /** Index of the last that reads it. */
  readonly until: number;
}

/** A training graph in segments that run one after the other. */
export interface SegmentedModel {
  readonly segments: readonly ModelSegment[];
  readonly passed: readonly PassedTensor[];
}

/**
 * Cuts a graph's nodes, in their order, into models: each ends where a group of outputs is complete, so that the group
 * can be used while the next segment runs. What a segment needs of earlier ones it has as inputs; together they compute
 * what the whole graph does. Parameters are inputs.
 *
 * @param groups e.g. the gradients of one bucket of parameters each; none: one segment
 * @throws invalid_argument for a graph without outputs
 * @throws failed_precondition when a tensor without a static shape would have to be passed on
 */
export function encodeSegments(
  graph: GraphBuilder,
  groups: readonly OutputGroup[],
  { channelBlock, segments = groups.length }: SegmentOptions = {},
): SegmentedModel {
  if (graph.outputs.length === 0) {
    throw new ClipGenError('invalid_argument', `graph ${graph.name} must have an output; got none`);
  }
  const { nodes, constants } = lowered(graph, channelBlock);
  const madeAt = new Map(nodes.flatMap(({ outputs }, at) => outputs.map(({ name }) => [name, at] as const)));
  const stretches = cut(graph, groups, segments, nodes.length, madeAt);
  const segmentOf = (name: string): number | undefined => {
    const at = madeAt.get(name);
    return at === undefined ? undefined : stretches.findIndex(({ end }) => at < end);
  };

  const renamed = outputNames(graph);
  const shown = (name: string): string => renamed.get(name) ?? name;
  const passed = new Map<string, { value: Value; from: number; until: number }>();
  const inputsOf = stretches.map(({ start, end }, segment) => {
    const read = new Map<string, Value>();
    for (const { inputs } of nodes.slice(start, end))
      for (const input of inputs) if (input) read.set(input.name, input);
    for (const [name, value] of read) {
      const from = segmentOf(name);
      if (from !== undefined && from < segment) {
        passed.set(name, { from: passed.get(name)?.from ?? from, value, until: segment });
      }
    }
    return read;
  });

  const models = stretches.map(({ start, end, completes }, segment): ModelSegment => {
    const read = inputsOf[segment]!;
    const own = nodes.slice(start, end).map((node) => nodeProto(node, renamed));
    const outputs = graph.outputs
      .filter(({ value }) => (segmentOf(value.name) ?? 0) === segment)
      .map(({ name, value }) => {
        if (renamed.get(value.name) !== name) {
          own.push(outputIdentity(shown(value.name), name));
          if (!value.producer) read.set(value.name, value);
        }
        return valueInfo(name, value);
      });
    for (const { value, from } of passed.values()) {
      if (from === segment && !renamed.has(value.name)) outputs.push(valueInfo(value.name, value));
    }
    const isRead = ({ value }: { readonly value: Value }): boolean => read.has(value.name);
    const inputs = [
      ...graph.inputs.filter(({ name }) => read.has(name)),
      ...graph.parameters.filter(isRead).map(({ value }) => value),
    ].map((value) => valueInfo(value.name, value));
    for (const { value, from, until } of passed.values()) {
      if (from < segment && segment <= until && read.has(value.name)) inputs.push(valueInfo(shown(value.name), value));
    }
    const initializer = constants.filter(isRead).map(({ value, data }) => constantProto(value.name, data));
    const name = stretches.length > 1 ? `${graph.name}.${segment}` : graph.name;
    return { model: modelBytes({ name, node: own, input: inputs, output: outputs, initializer }), completes };
  });
  const tensors = Array.from(passed.values(), ({ value, from, until }): PassedTensor => {
    const { dtype } = value;
    return { name: shown(value.name), dtype, shape: staticShape(value.shape, value.name), from, until };
  });
  return { segments: models, passed: tensors };
}

interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly completes: readonly number[];
}

/** Where each segment begins and ends among the nodes. */
function cut(
  graph: GraphBuilder,
  groups: readonly OutputGroup[],
  segments: number,
  count: number,
  madeAt: ReadonlyMap<string, number>,
): readonly Stretch[] {
  const places = new Map(graph.outputs.map(({ name, value }) => [name, madeAt.get(value.name) ?? 0]));
  const readyAt = groups.map(({ outputs }) => {
    const found = outputs.flatMap((name) => places.get(name) ?? []);
    return found.length > 0 ? Math.max(...found) : count - 1;
  });
  const order = groups.map((_, i) => i).sort((a, b) => readyAt[a]! - readyAt[b]! || a - b);
  const stretches: { start: number; end: number; completes: number[] }[] = [];
  let waiting: number[] = [];
  order.forEach((group, i) => {
    waiting.push(group);
    // The (i + 1)-th of n groups ends a segment where another k-th of them is complete; after the last there is no need.
    const isDue = Math.floor(((i + 1) * segments) / order.length) > Math.floor((i * segments) / order.length);
    const next = order[i + 1];
    const end = readyAt[group]! + 1;
    if (!groups[group]!.apart && (!isDue || next === undefined)) return;
    if (end >= count || (next !== undefined && end === readyAt[next]! + 1)) return;
    stretches.push({ start: stretches.at(-1)?.end ?? 0, end, completes: waiting });
    waiting = [];
  });
  return [...stretches, { start: stretches.at(-1)?.end ?? 0, end: count, completes: waiting }];
}

/** The nodes that run, and all constants that they may read. */
function lowered(
  graph: GraphBuilder,
  channelBlock: SegmentOptions['channelBlock'],
): {
  readonly nodes: readonly Node[];
  readonly constants: readonly { readonly value: Value; readonly data: Tensor }[];
} {
  const { nodes } = reachable(graph);
  const constants = [...graph.constants.values()];
  if (!channelBlock) return { nodes, constants };
  const blocked = blockConvolutions(graph, nodes, channelBlock);
  return { nodes: blocked.nodes, constants: [...constants, ...blocked.constants] };
}
