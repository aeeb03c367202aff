import type { ClipConfig } from '@clip-gen/clip';
import type { GraphBuilder } from '@clip-gen/graph';
import type { ParameterSpec } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import type { VqganConfig } from '@clip-gen/vqgan';
import { requireWeights, type FrozenModel } from '../frozen-weights.ts';
import { prefixed } from '../prefixed.ts';

/** The frozen networks that turn a picture into what the transformer learns from. */
export interface FrozenModels {
  readonly vqgan: FrozenModel<VqganConfig>;
  readonly clip: FrozenModel<ClipConfig>;
}

/** A graph in which they stand under `vqgan.` and `clip.`, perhaps beside parameters that are trained. */
export interface GraphOverFrozen {
  readonly graph: GraphBuilder;
  /** All parameters, frozen ones included. */
  readonly specs: readonly ParameterSpec[];
}

const PREFIXES = { vqgan: 'vqgan.', clip: 'clip.' } as const;

/** Parameters that belong to the frozen VQGAN or CLIP. */
export function isFrozen(name: string): boolean {
  return Object.values(PREFIXES).some((prefix) => name.startsWith(prefix));
}

/**
 * The weights of the frozen networks, by the names that graphs give them.
 *
 * @param specs parameters of the graphs that they are for
 * @throws failed_precondition when a frozen one of them is missing or has another shape
 */
export function frozenValues(models: FrozenModels, specs: readonly ParameterSpec[]): Record<string, Tensor> {
  const values: Record<string, Tensor> = {};
  for (const kind of ['vqgan', 'clip'] as const) {
    const { folder, weights } = models[kind];
    const prefix = PREFIXES[kind];
    const wanted = specs.filter(({ name }) => name.startsWith(prefix));
    requireWeights(
      wanted.map(({ name, shape }) => ({ name: name.slice(prefix.length), shape })),
      weights,
      `model ${folder}`,
    );
    Object.assign(values, prefixed(prefix, weights));
  }
  return values;
}
