import { pixelUnshuffle, type Value } from '@clip-gen/graph';
import { conv2d, same, type Scope } from '@clip-gen/nn';
import { attentionBlock, downsample, middle, normalized, residualBlock } from './blocks.ts';
import type { VqganConfig } from './config.ts';
import { encodePatches } from './patch-encoder.ts';

/** Pixels in [−1, 1] (B, 3, S, S) → latents (B, codeSize, g, g), g = {@link gridSide}. Esser et al., arXiv 2012.09841. */
export function encodeLatents(scope: Scope, config: VqganConfig, pixels: Value): Value {
  if (config.patchEncoder) return encodePatches(scope, config, config.patchEncoder, pixels);
  const { patchSize, channels, multipliers, blocks, attentionSides, codeSize, latentSize = codeSize } = config;
  const encoder = scope.child('encoder');
  const input = patchSize === 1 ? pixels : pixelUnshuffle(pixels, patchSize);
  let x = conv2d(encoder.child('conv_in'), input, channels, 3, { pads: same(3) });
  const down = encoder.child('down');
  let index = 0;
  multipliers.forEach((multiplier, level) => {
    for (let i = 0; i < blocks; i++) {
      x = residualBlock(down.child(index++), x, channels * multiplier, config);
      if (attentionSides.includes(x.shape[2] as number)) x = attentionBlock(down.child(index++), x, config);
    }
    if (level < multipliers.length - 1) x = downsample(down.child(index++), x);
  });
  x = middle(encoder.child('mid'), x, config);
  const final = encoder.child('final');
  x = normalized(final.child(0), x, config);
  x = conv2d(final.child(2), x, latentSize, 3, { pads: same(3) });
  return conv2d(final.child(3), x, codeSize, 1);
}
