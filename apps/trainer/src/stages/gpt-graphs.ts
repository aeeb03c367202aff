import { encodeImage, fromSignedPixels, normalizeRows } from '@clip-gen/clip';
import { predictTokens, type GptConfig } from '@clip-gen/gpt';
import { add, argMax, GraphBuilder, mul, reshape, slice, transpose, type Value } from '@clip-gen/graph';
import { mse, straightThroughCodes, tokenCrossEntropy } from '@clip-gen/losses';
import { resizeBilinear, Scope } from '@clip-gen/nn';
import { codebook, decodeLatents, gridSide, lookUp } from '@clip-gen/vqgan';
import { outputGradients } from '../step-graph.ts';
import { isFrozen, type FrozenModels, type GraphOverFrozen } from './frozen-models.ts';

interface Forward {
  readonly graph: GraphBuilder;
  readonly scope: Scope;
  readonly tokens: Value;
  readonly logits: Value;
  readonly loss: Value;
}

/** @param disturbed the tokens before each position are an input `previous` of their own, not read off the true ones */
function forward(config: GptConfig, batch: number, disturbed: boolean): Forward {
  const graph = new GraphBuilder('gpt-step');
  const scope = new Scope(graph);
  const tokens = graph.input('tokens', 'int64', [batch, config.tokens]);
  const previous = disturbed
    ? graph.input('previous', 'int64', [batch, config.tokens - 1])
    : slice(tokens, 1, 0, config.tokens - 1);
  const condition = graph.input('condition', 'float32', [batch, config.conditionSize]);
  const logits = predictTokens(scope, config, condition, previous);
  return { graph, scope, tokens, logits, loss: tokenCrossEntropy(logits, tokens) };
}

/**
 * The training step: tokens int64 (B, T), previous int64 (B, T − 1), condition (B, E) → `loss`, the cross-entropy in nats; gradients of it plus
 * λ times the embedding reconstruction loss, which is the output `embedding` where λ > 0.
 */
export function trainingGraph(config: GptConfig, batch: number, lambda: number, frozen: FrozenModels): GraphOverFrozen {
  const { graph, scope, tokens, logits, loss } = forward(config, batch, true);
  let total = loss;
  if (lambda > 0) {
    const distance = embeddingLoss(scope, config, frozen, tokens, logits);
    graph.output('embedding', distance);
    total = add(loss, mul(distance, lambda));
  }
  graph.output('loss', loss);
  const names = graph.parameters.map((parameter) => parameter.name).filter((name) => !isFrozen(name));
  outputGradients(graph, total, names);
  return { graph, specs: scope.specs };
}

/**
 * The embedding reconstruction loss: how far the picture of the most likely tokens, which pass their gradient straight
 * through, is from that of the true ones.
 */
export function embeddingLoss(
  scope: Scope,
  config: GptConfig,
  frozen: FrozenModels,
  tokens: Value,
  logits: Value,
): Value {
  const rows = reshape(logits, [(tokens.shape[0] as number) * config.tokens, config.vocabularySize]);
  const codes = straightThroughCodes(rows, codebook(scope.child('vqgan'), frozen.vqgan.config));
  return embeddingDistance(scope, frozen, tokens, codes);
}

/**
 * mse between the CLIP embeddings of two pictures: the VQGAN's own reconstruction of the true tokens int64 (B, T), so
 * that the cache is enough, and what it makes of `codes` (B·T, C).
 */
export function embeddingDistance(scope: Scope, { vqgan, clip }: FrozenModels, tokens: Value, codes: Value): Value {
  const autoencoder = scope.child('vqgan');
  const side = gridSide(vqgan.config);
  const embed = (latents: Value): Value => {
    const pixels = resizeBilinear(decodeLatents(autoencoder, vqgan.config, latents), clip.config.vision.imageSize);
    return normalizeRows(encodeImage(scope.child('clip'), clip.config, fromSignedPixels(pixels)));
  };
  const grid = reshape(codes, [tokens.shape[0] as number, side, side, vqgan.config.codeSize]);
  return mse(embed(lookUp(autoencoder, vqgan.config, tokens, side)), embed(transpose(grid, [0, 3, 1, 2])));
}

/**
 * Tokens int64 (B, T), condition (B, E) → `cross_entropy`; `true_pictures` (B, 3, S, S) of the tokens and
 * `predicted_pictures` of the most likely token at each position given the true ones before it.
 */
export function evaluationGraph(config: GptConfig, batch: number, { vqgan }: FrozenModels): GraphOverFrozen {
  const { graph, scope, tokens, logits, loss } = forward(config, batch, false);
  graph.output('cross_entropy', loss);
  const autoencoder = scope.child('vqgan');
  const side = gridSide(vqgan.config);
  const picture = (ids: Value): Value =>
    decodeLatents(autoencoder, vqgan.config, lookUp(autoencoder, vqgan.config, ids, side));
  graph.output('true_pictures', picture(tokens));
  graph.output('predicted_pictures', picture(argMax(logits, -1)));
  return { graph, specs: scope.specs };
}
