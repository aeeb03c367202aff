import { add, cast, clip, conv, gather, mul, relu, reshape, transpose, type Dim, type Value } from '@clip-gen/graph';
import { conv2d, fanIn, normal, same, type Scope } from '@clip-gen/nn';
import type { PreviewConfig } from './preview-config.ts';

/** Name of the preview decoder's own codes, (K, codeSize). */
export const PREVIEW_CODES = 'codebook.weight';

/**
 * Tokens int64 (B, g·g) → pixels about [−1, 1] (B, 3, S, S), not clamped: what a VQGAN's decoder makes of them, nearly,
 * at a small part of its cost (the idea of TAESD, for codes). Narrow 3 × 3 convolutions with ReLU; between levels a 1 × 1
 * convolution whose channels become 2 × 2 places. Nothing takes statistics over the picture.
 */
export function decodePreview(scope: Scope, config: PreviewConfig, tokens: Value): Value {
  return transpose(spread(places(scope, config, tokens, {}), config.patchSize), [0, 3, 1, 2]);
}

/** The same as levels uint8 (B, S, S, 3), rounded and clamped, row by row as a picture has them: for serving. */
export function decodePreviewLevels(scope: Scope, config: PreviewConfig, tokens: Value): Value {
  const levels = places(scope, config, tokens, { scale: 127.5, shift: 128 }); // + 0.5: the cast truncates
  return spread(cast(clip(levels, 0, 255), 'uint8'), config.patchSize);
}

/** The unit of the pixels: value · scale + shift, computed on the weights, which costs nothing when they are constant. */
interface Unit {
  readonly scale?: number;
  readonly shift?: number;
}

/** Tokens (B, g·g) → (B, p·p·3, S/p, S/p): each place of the last level with its pixels. */
function places(scope: Scope, config: PreviewConfig, tokens: Value, unit: Unit): Value {
  const { gridSize, codebookSize, codeSize, channels, blocks, patchSize } = config;
  const codes = gather(scope.child('codebook').parameter('weight', [codebookSize, codeSize], normal(1)), tokens);
  let x = reshape(transpose(codes, [0, 2, 1]), [tokens.shape[0]!, codeSize, gridSize, gridSize]);
  for (const [i, width] of channels.entries()) {
    const level = scope.child('levels').child(i);
    if (i > 0) x = transpose(spread(conv2d(level.child('up'), x, 4 * width, 1), 2), [0, 3, 1, 2]);
    x = relu(conv2d(level.child('conv_in'), x, width, 3, { pads: same(3) }));
    for (let b = 0; b < blocks[i]!; b++) {
      x = relu(add(conv2d(level.child('blocks').child(b), x, width, 3, { pads: same(3) }), x));
    }
  }
  return lastConvolution(scope.child('conv_out'), x, patchSize * patchSize * 3, unit);
}

/** 1 × 1, as `conv2d` makes it. */
function lastConvolution(scope: Scope, x: Value, out: number, { scale, shift }: Unit): Value {
  const into = x.shape[1] as number;
  const weight = scope.parameter('weight', [out, into, 1, 1], fanIn(into));
  const bias = scope.parameter('bias', [out], fanIn(into));
  if (scale === undefined || shift === undefined) return conv(x, weight, bias);
  return conv(x, mul(weight, scale), add(mul(bias, scale), shift));
}

/**
 * (B, p·p·C, H, W) → (B, p·H, p·W, C): a place's channels, in the order row, column, C, become p × p places. Two
 * transpositions that move runs, where a pixel shuffle moves values one by one.
 */
function spread(x: Value, factor: number): Value {
  const [batch, channels, height, width] = x.shape as [Dim, number, number, number];
  const inner = channels / factor; // a row of p places
  const rows = reshape(transpose(reshape(x, [batch, channels, height * width]), [0, 2, 1]), [
    batch,
    height,
    width,
    factor,
    inner,
  ]);
  const spreadRows = transpose(rows, [0, 1, 3, 2, 4]); // (B, H, p, W, p·C)
  return reshape(spreadRows, [batch, factor * height, factor * width, inner / factor]);
}
