import { encodeImage, encodeText, normalizeRows, type ClipConfig } from '@clip-gen/clip';
import { invalidArgument } from '@clip-gen/errors';
import { decodeStepGraph, predictTokens, type GptConfig } from '@clip-gen/gpt';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import {
  decodeLatents,
  decodePreview,
  encodeLatents,
  gridSide,
  latentRows,
  lookUp,
  nearestCodes,
  type PreviewConfig,
  type VqganConfig,
} from '@clip-gen/vqgan';
import type { ModelConfig } from './model-folder.ts';

/** The graphs of each network; the first is taken when none is named. */
export const EXPORTED_GRAPHS = {
  clip: ['image', 'text'],
  vqgan: ['decoder', 'encoder'],
  gpt: ['logits', 'step'],
  preview: ['decoder'],
} as const satisfies Record<ModelConfig['model'], readonly [string, ...string[]]>;

/** Names of all of them. */
export type ExportedGraph = (typeof EXPORTED_GRAPHS)[ModelConfig['model']][number];

/**
 * One network as a graph, the batch B left open.
 *
 * | graph     | inputs                                                    | outputs                                      |
 * | --------- | --------------------------------------------------------- | -------------------------------------------- |
 * | `image`   | `pixels` float32 (B, 3, S, S), normalised as CLIP's       | `embedding` float32 (B, E), of unit length   |
 * | `text`    | `tokens` int64 (B, context)                               | `embedding` float32 (B, E), of unit length   |
 * | `encoder` | `pixels` float32 (B, 3, S, S) in [−1, 1]                  | `tokens` int64 (B·g·g)                       |
 * | `decoder` | `tokens` int64 (B, g·g)                                   | `pixels` float32 (B, 3, S, S), about [−1, 1] |
 * | `logits`  | `condition` float32 (B, E), `previous` int64 (B, T−1)     | `logits` float32 (B, T, K)                   |
 * | `step`    | one token and the keys and values before it, see libs/gpt | `logits` float32 (B, K), the cache           |
 *
 * `decoder` is that of a VQGAN or of a preview decoder, which takes and gives the same.
 *
 * @throws invalid_argument when the network has no such graph
 */
export function exportedGraph(config: ModelConfig, name: ExportedGraph | undefined): GraphBuilder {
  const names: readonly ExportedGraph[] = EXPORTED_GRAPHS[config.model];
  const chosen = name ?? names[0]!;
  if (!names.includes(chosen)) throw invalidArgument('--graph', `${names.join(' or ')} for a ${config.model}`, chosen);
  const graph = new GraphBuilder(`${config.model}-${chosen}`);
  const scope = new Scope(graph);
  switch (config.model) {
    case 'clip':
      return clipGraph(graph, scope, config, chosen === 'image');
    case 'vqgan':
      return vqganGraph(graph, scope, config, chosen === 'encoder');
    case 'preview':
      return previewGraph(graph, scope, config);
    case 'gpt':
      return chosen === 'step' ? decodeStepGraph(config).graph : logitsGraph(graph, scope, config);
  }
}

function clipGraph(graph: GraphBuilder, scope: Scope, config: ClipConfig, image: boolean): GraphBuilder {
  const side = config.vision.imageSize;
  const features = image
    ? encodeImage(scope, config, graph.input('pixels', 'float32', ['B', 3, side, side]))
    : encodeText(scope, config, graph.input('tokens', 'int64', ['B', config.text.contextLength]));
  graph.output('embedding', normalizeRows(features));
  return graph;
}

function vqganGraph(graph: GraphBuilder, scope: Scope, config: VqganConfig, encoder: boolean): GraphBuilder {
  const [size, side] = [config.imageSize, gridSide(config)];
  if (encoder) {
    const latents = encodeLatents(scope, config, graph.input('pixels', 'float32', ['B', 3, size, size]));
    graph.output('tokens', nearestCodes(scope, config, latentRows(latents)));
  } else {
    const tokens = graph.input('tokens', 'int64', ['B', side * side]);
    graph.output('pixels', decodeLatents(scope, config, lookUp(scope, config, tokens, side)));
  }
  return graph;
}

function previewGraph(graph: GraphBuilder, scope: Scope, config: PreviewConfig): GraphBuilder {
  const tokens = graph.input('tokens', 'int64', ['B', config.gridSize ** 2]);
  graph.output('pixels', decodePreview(scope, config, tokens));
  return graph;
}

function logitsGraph(graph: GraphBuilder, scope: Scope, config: GptConfig): GraphBuilder {
  const condition = graph.input('condition', 'float32', ['B', config.conditionSize]);
  const previous = graph.input('previous', 'int64', ['B', config.tokens - 1]);
  graph.output('logits', predictTokens(scope, config, condition, previous));
  return graph;
}
