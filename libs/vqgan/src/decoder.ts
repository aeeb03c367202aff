import { pixelShuffle, type Value } from '@clip-gen/graph';
import { conv2d, same, type Scope } from '@clip-gen/nn';
import { attentionBlock, middle, normalized, residualBlock, upsample } from './blocks.ts';
import type { VqganConfig } from './config.ts';

/** Codes (B, codeSize, g, g) → pixels about [−1, 1] (B, 3, S, S), not clamped. */
export function decodeLatents(scope: Scope, config: VqganConfig, codes: Value): Value {
  const { patchSize, channels, multipliers, blocks, attentionSides, codeSize, latentSize = codeSize } = config;
  const decoder = scope.child('decoder');
  let x = conv2d(decoder.child('quant_conv_in'), codes, latentSize, 1);
  x = conv2d(decoder.child('conv_in'), x, channels * multipliers.at(-1)!, 3, { pads: same(3) });
  x = middle(decoder.child('mid'), x, config);
  const up = decoder.child('up');
  let index = 0;
  [...multipliers].reverse().forEach((multiplier, level) => {
    for (let i = 0; i < blocks + 1; i++) {
      x = residualBlock(up.child(index++), x, channels * multiplier, config);
      if (attentionSides.includes(x.shape[2] as number)) x = attentionBlock(up.child(index++), x, config);
    }
    if (level < multipliers.length - 1) x = upsample(up.child(index++), x);
  });
  const final = decoder.child('final');
  x = normalized(final.child(0), x, config);
  x = conv2d(final.child(2), x, 3 * patchSize * patchSize, 3, { pads: same(3) });
  return patchSize === 1 ? x : pixelShuffle(x, patchSize);
}
