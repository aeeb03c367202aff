import { add, GraphBuilder, mul } from '@clip-gen/graph';
import { l1, mse } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import { decodePreview, previewSide, type PreviewConfig } from '@clip-gen/vqgan';
import { outputGradients } from '../step-graph.ts';
import { PERCEPTUAL_PREFIX, perceptualDistance, type Perceptual } from './perceptual.ts';
import type { BuiltGraph } from './vqgan-graphs.ts';

export interface PreviewLosses {
  readonly l1: number;
  readonly mse: number;
  /** Share of the originals among what is learned, in [0, 1]. */
  readonly original: number;
  readonly perceptual: Perceptual;
}

type PreviewGraph = Omit<BuiltGraph, 'statistics'>;

/**
 * The training step: tokens int64 (B, g·g), target and original (B, 3, S, S) → losses and gradients. `mse` is that to the
 * target alone.
 */
export function previewTrainingGraph(config: PreviewConfig, batch: number, losses: PreviewLosses): PreviewGraph {
  const { graph, scope, picture } = forward(config, batch);
  const shape = [batch, 3, previewSide(config), previewSide(config)];
  const target = graph.input('target', 'float32', shape);
  const original = graph.input('original', 'float32', shape);
  const wanted = losses.original === 0 ? target : add(mul(target, 1 - losses.original), mul(original, losses.original));
  const squared = mse(target, picture);
  const towards = losses.original === 0 ? squared : mse(wanted, picture);
  let loss = add(mul(l1(wanted, picture), losses.l1), mul(towards, losses.mse));
  if (losses.perceptual.kind !== 'none') {
    const distance = perceptualDistance(scope.child('perceptual'), losses.perceptual, wanted, picture);
    graph.output('perceptual', distance);
    loss = add(loss, mul(distance, losses.perceptual.weight));
  }
  graph.output('loss', loss);
  graph.output('mse', squared);
  const names = graph.parameters.map(({ name }) => name).filter((name) => !name.startsWith(PERCEPTUAL_PREFIX));
  outputGradients(graph, loss, names);
  return { graph, specs: scope.specs };
}

/** tokens int64 (B, g·g) → picture (B, 3, S, S). */
export function previewPictureGraph(config: PreviewConfig, batch: number): PreviewGraph {
  const { graph, scope, picture } = forward(config, batch);
  graph.output('picture', picture);
  return { graph, specs: scope.specs };
}

function forward(config: PreviewConfig, batch: number) {
  const graph = new GraphBuilder('preview');
  const scope = new Scope(graph);
  const tokens = graph.input('tokens', 'int64', [batch, config.gridSize ** 2]);
  return { graph, scope, picture: decodePreview(scope, config, tokens) };
}
