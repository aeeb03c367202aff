import { pixelUnshuffle, type Value } from '@clip-gen/graph';
import { conv2d, PLAIN_LAYERS, same, type Scope } from '@clip-gen/nn';
import { attentionBlock, downsample, middle, normSizes, residualBlock, type Blocks } from './blocks.ts';
import type { VqganConfig } from './config.ts';
import { encodePatches } from './patch-encoder.ts';

/** Pixels in [−1, 1] (B, 3, S, S) → latents (B, codeSize, g, g), g = {@link gridSide}. Esser et al., arXiv 2012.09841. */
export function encodeLatents(scope: Scope, config: VqganConfig, pixels: Value): Value {
  if (config.patchEncoder) return encodePatches(scope, config, config.patchEncoder, pixels);
  const { patchSize, channels, multipliers, blocks: count, attentionSides, codeSize, latentSize = codeSize } = config;
  const blocks: Blocks = { layers: PLAIN_LAYERS, norm: normSizes(config) };
  const encoder = scope.child('encoder');
  const input = patchSize === 1 ? pixels : pixelUnshuffle(pixels, patchSize);
  let x = conv2d(encoder.child('conv_in'), input, channels, 3, { pads: same(3) });
  const down = encoder.child('down');
  let index = 0;
  multipliers.forEach((multiplier, level) => {
    for (let i = 0; i < count; i++) {
      x = residualBlock(blocks, down.child(index++), x, channels * multiplier);
      if (attentionSides.includes(x.shape[2] as number)) x = attentionBlock(blocks, down.child(index++), x);
    }
    if (level < multipliers.length - 1) x = downsample(down.child(index++), x);
  });
  x = middle(blocks, encoder.child('mid'), x);
  const final = encoder.child('final');
  x = PLAIN_LAYERS.normalized(final.child(0), x, blocks.norm);
  x = conv2d(final.child(2), x, latentSize, 3, { pads: same(3) });
  return conv2d(final.child(3), x, codeSize, 1);
}
