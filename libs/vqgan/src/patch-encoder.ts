import { add, gelu, reshape, transpose, type Value } from '@clip-gen/graph';
import { conv2d, layerNorm, linear, type Scope } from '@clip-gen/nn';
import { gridSide, type PatchEncoderConfig, type VqganConfig } from './config.ts';

/**
 * Pixels (B, 3, S, S) → latents (B, codeSize, g, g), each from its own patch alone: one strided convolution,
 * then residual perceptrons on every position. Nothing mixes positions or takes statistics over the picture, so equal
 * patches get equal tokens wherever they lie and whatever the rest shows: a sequence that a GPT can predict.
 */
export function encodePatches(
  scope: Scope,
  config: VqganConfig,
  { width, blocks }: PatchEncoderConfig,
  pixels: Value,
): Value {
  const encoder = scope.child('encoder');
  const side = gridSide(config);
  const patch = config.imageSize / side;
  const batch = pixels.shape[0]!;
  const embedded = conv2d(encoder.child('conv_in'), pixels, width, patch, { stride: patch });
  let x = transpose(reshape(embedded, [batch, width, side * side]), [0, 2, 1]); // (B, g·g, width)
  for (let i = 0; i < blocks; i++) {
    const block = encoder.child('blocks').child(i);
    const hidden = gelu(linear(block.child('fc1'), layerNorm(block.child('norm'), x), 4 * width));
    x = add(x, linear(block.child('fc2'), hidden, width));
  }
  const final = encoder.child('final');
  x = linear(final.child(1), layerNorm(final.child(0), x), config.codeSize);
  return reshape(transpose(x, [0, 2, 1]), [batch, config.codeSize, side, side]);
}
