import {
  add,
  argMax,
  concat,
  div,
  gather,
  matMul,
  mul,
  reduceSum,
  reshape,
  slice,
  sqrt,
  transpose,
  type Dim,
  type Value,
} from '@clip-gen/graph';
import { CLIP_NORMALISATION } from '@clip-gen/image';
import { constant, fanIn, layerNorm, normal, project, type Scope } from '@clip-gen/nn';
import { tensor } from '@clip-gen/tensor';
import { transformer } from './blocks.ts';
import type { ClipConfig } from './config.ts';

/**
 * The vision transformer: normalised pixels (B, 3, S, S) → features (B, E), not yet of unit length.
 * Radford et al., arXiv 2103.00020. `features` receives each block's output (B, P+1, W) when given.
 */
export function encodeImage(scope: Scope, config: ClipConfig, pixels: Value, features: Value[] = []): Value {
  const { imageSize, patchSize, width, layers, heads } = config.vision;
  const visual = scope.child('visual');
  const batch = pixels.shape[0]!;
  const side = imageSize / patchSize;
  const patchValues = 3 * patchSize * patchSize;
  // A convolution whose stride is its kernel is a product with each patch.
  const blocks = reshape(pixels, [batch, 3, side, patchSize, side, patchSize]);
  const patches = reshape(transpose(blocks, [0, 2, 4, 1, 3, 5]), [batch, side * side, patchValues]);
  const kernel = visual.child('conv1').parameter('weight', [width, 3, patchSize, patchSize], fanIn(patchValues));
  const tokens = project(patches, reshape(kernel, [width, patchValues]), null); // (B, P, W)
  const start = normal(width ** -0.5);
  const summary = reshape(visual.parameter('class_embedding', [width], start), [1, 1, width]);
  const positions = visual.parameter('positional_embedding', [side * side + 1, width], start);
  const zero = mul(slice(tokens, 1, 0, 1), 0); // (B, 1, W): carries the batch, named or not
  let x = add(concat([add(zero, summary), tokens], 1), positions);
  x = layerNorm(visual.child('ln_pre'), x);
  const { activation = 'quickGelu' } = config;
  const options = { layers, heads, causal: false, scaledStart: false, activation };
  x = transformer(visual.child('transformer'), x, options, features);
  const pooled = layerNorm(visual.child('ln_post'), reshape(slice(x, 1, 0, 1), [batch, width]));
  return matMul(pooled, visual.parameter('proj', [width, config.embeddingSize], start));
}

/**
 * The text transformer: token ids int64 (B, context) → features (B, E), not yet of unit length. The feature is that of
 * the largest id, the end-of-text token.
 */
export function encodeText(scope: Scope, config: ClipConfig, tokens: Value): Value {
  const { contextLength, vocabularySize, width, layers, heads } = config.text;
  const batch = tokens.shape[0]!;
  const table = scope.child('token_embedding').parameter('weight', [vocabularySize, width], normal(0.02));
  const positions = scope.parameter('positional_embedding', [contextLength, width], normal(0.01));
  let x = add(gather(table, tokens), positions); // (B, T, W)
  const { activation = 'quickGelu' } = config;
  x = transformer(scope.child('transformer'), x, { layers, heads, causal: true, scaledStart: true, activation });
  x = layerNorm(scope.child('ln_final'), x);
  const pooled = rowsAt(x, argMax(tokens, -1), batch, contextLength);
  return matMul(pooled, scope.parameter('text_projection', [width, config.embeddingSize], normal(width ** -0.5)));
}

/** x (B, T, W) at position `at[b]` of each row → (B, W), as a product with a one-hot row: the batch may be named. */
function rowsAt(x: Value, at: Value, batch: Dim, length: number): Value {
  const table = x.graph.constant(tensor('float32', [length, length], identityMatrix(length)));
  const oneHot = reshape(gather(table, at), [batch, 1, length]);
  return reshape(matMul(oneHot, x), [batch, x.shape[2]!]);
}

function identityMatrix(size: number): Float32Array<ArrayBuffer> {
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) matrix[i * size + i] = 1;
  return matrix;
}

/** exp of the learned log-temperature: the factor of the cosine similarities, a scalar. Starts at 1/0.07. */
export function logitScale(scope: Scope): Value {
  return scope.parameter('logit_scale', [], constant(Math.log(1 / 0.07)));
}

/** Rows of unit length: x / ‖x‖. */
export function normalizeRows(x: Value): Value {
  return div(x, sqrt(reduceSum(mul(x, x), [-1], true)));
}

/** Pixels in [−1, 1] (B, 3, S, S), as the VQGAN has them, to CLIP's normalisation. */
export function fromSignedPixels(x: Value): Value {
  const { mean, std } = CLIP_NORMALISATION;
  const scale = std.map((spread) => 0.5 / spread);
  const shift = mean.map((middle, c) => (0.5 - middle) / std[c]!);
  const perChannel = (values: readonly number[]): Value =>
    x.graph.constant(tensor('float32', [1, 3, 1, 1], Float32Array.from(values)));
  return add(mul(x, perChannel(scale)), perChannel(shift));
}
