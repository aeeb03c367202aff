import { pixelShuffle, type Value } from '@clip-gen/graph';
import { conv2d, PLAIN_LAYERS, same, type FeatureMap, type MapLayers, type Scope } from '@clip-gen/nn';
import { attentionBlock, middle, normSizes, residualBlock, type Blocks } from './blocks.ts';
import type { VqganConfig } from './config.ts';

/**
 * Codes (B, codeSize, g, g) → pixels about [−1, 1] (B, 3, S, S), not clamped.
 *
 * @param layers how the maps between are computed; by default in a way that can be trained
 */
export function decodeLatents(scope: Scope, config: VqganConfig, codes: Value): Value;
export function decodeLatents<M extends FeatureMap>(
  scope: Scope,
  config: VqganConfig,
  codes: Value,
  layers: MapLayers<M>,
): Value;
export function decodeLatents(
  scope: Scope,
  config: VqganConfig,
  codes: Value,
  layers: MapLayers = PLAIN_LAYERS,
): Value {
  return decodeBy(layers, scope, config, codes);
}

function decodeBy<M extends FeatureMap>(layers: MapLayers<M>, scope: Scope, config: VqganConfig, codes: Value): Value {
  const { patchSize, channels, multipliers, blocks: count, attentionSides, codeSize, latentSize = codeSize } = config;
  const blocks: Blocks<M> = { layers, norm: normSizes(config) };
  const decoder = scope.child('decoder');
  let h = conv2d(decoder.child('quant_conv_in'), codes, latentSize, 1);
  h = conv2d(decoder.child('conv_in'), h, channels * multipliers.at(-1)!, 3, { pads: same(3) });
  let x = middle(blocks, decoder.child('mid'), layers.enter(h));
  const up = decoder.child('up');
  let index = 0;
  [...multipliers].reverse().forEach((multiplier, level) => {
    for (let i = 0; i < count + 1; i++) {
      x = residualBlock(blocks, up.child(index++), x, channels * multiplier);
      if (attentionSides.includes(x.shape[2] as number)) x = attentionBlock(blocks, up.child(index++), x);
    }
    if (level < multipliers.length - 1) x = layers.upsample(up.child(index++).child('conv'), x);
  });
  const final = decoder.child('final');
  x = layers.normalized(final.child(0), x, blocks.norm);
  const y = layers.lastConv2d(final.child(2), x, 3 * patchSize * patchSize, 3);
  return patchSize === 1 ? y : pixelShuffle(y, patchSize);
}

/** Whether `blockedLayers(block)` can decode: every map must have whole blocks of channels. */
export function decodesInBlocks({ channels, multipliers }: VqganConfig, block: number): boolean {
  return multipliers.every((multiplier) => (channels * multiplier) % block === 0);
}
