import { encodeImage, encodeText, logitScale, type ClipConfig } from '@clip-gen/clip';
import { predictTokens, type GptConfig } from '@clip-gen/gpt';
import { GraphBuilder } from '@clip-gen/graph';
import { lpips } from '@clip-gen/losses';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
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

/** Name and shape of every parameter that a model's functions ask for, by building their graphs. */
function parametersOf(build: (graph: GraphBuilder, scope: Scope) => void): readonly ParameterSpec[] {
  const graph = new GraphBuilder('parameters');
  const scope = new Scope(graph);
  build(graph, scope);
  return scope.specs;
}

/** Parameters of a CLIP's two towers and its temperature, by name and shape. */
export function clipParameters(config: ClipConfig): readonly ParameterSpec[] {
  const { imageSize } = config.vision;
  return parametersOf((graph, scope) => {
    encodeImage(scope, config, graph.input('pixels', 'float32', [1, 3, imageSize, imageSize]));
    encodeText(scope, config, graph.input('tokens', 'int64', [1, config.text.contextLength]));
    logitScale(scope);
  });
}

/** Parameters of a VQGAN's encoder, quantiser and decoder, without a discriminator, by name and shape. */
export function vqganParameters(config: VqganConfig): readonly ParameterSpec[] {
  const { imageSize } = config;
  const side = gridSide(config);
  return parametersOf((graph, scope) => {
    const pixels = graph.input('pixels', 'float32', [1, 3, imageSize, imageSize]);
    nearestCodes(scope, config, latentRows(encodeLatents(scope, config, pixels)));
    decodeLatents(scope, config, lookUp(scope, config, graph.input('tokens', 'int64', [1, side * side]), side));
  });
}

/** Parameters of the conditional transformer, by name and shape. */
export function gptParameters(config: GptConfig): readonly ParameterSpec[] {
  return parametersOf((graph, scope) => {
    const condition = graph.input('condition', 'float32', [1, config.conditionSize]);
    predictTokens(scope, config, condition, graph.input('previous', 'int64', [1, config.tokens - 1]));
  });
}

/** Parameters of a preview decoder, by name and shape. */
export function previewParameters(config: PreviewConfig): readonly ParameterSpec[] {
  return parametersOf((graph, scope) => {
    decodePreview(scope, config, graph.input('tokens', 'int64', [1, config.gridSize ** 2]));
  });
}

/**
 * Of LPIPS: VGG16 and the linear heads.
 *
 * @param channels of the five slices
 */
export function lpipsParameters(channels: readonly number[]): readonly ParameterSpec[] {
  return parametersOf((graph, scope) => {
    const picture = (name: string) => graph.input(name, 'float32', [1, 3, 32, 32]);
    lpips(scope, picture('a'), picture('b'), { channels });
  });
}
