import { ClipGenError } from '@clip-gen/errors';
import {
  add,
  argMax,
  argMin,
  gather,
  gemm,
  mul,
  reduceMean,
  reduceSum,
  reshape,
  stopGradient,
  straightThrough,
  sub,
  transpose,
  type Value,
} from '@clip-gen/graph';
import { linear, productDim, uniform, type Scope } from '@clip-gen/nn';
import type { VqganConfig } from './config.ts';

/** Weight of the term that draws the codes to the latents. */
const CODEBOOK_WEIGHT = 0.2;

/** The codebook, (K, codeSize). */
export function codebook(scope: Scope, config: VqganConfig): Value {
  const { codebookSize, codeSize } = config;
  return scope
    .child('quantizer')
    .child('embedding')
    .parameter('weight', [codebookSize, codeSize], uniform(1 / codebookSize));
}

/** (B, C, g, g) → rows (B·g·g, C), row-major over the grid. */
export function latentRows(x: Value): Value {
  const [batch, channels, height, width] = x.shape as [number | string, number, number, number];
  return reshape(transpose(x, [0, 2, 3, 1]), [productDim([batch, height * width]), channels]);
}

/**
 * The code of each row, (N, C) → int64 (N): the nearest by Euclidean distance, without ‖x‖², which is the same for all
 * codes; or, by `codeChoice: 'projection'`, the one with the largest projection, as a Gumbel quantiser chooses.
 */
export function nearestCodes(scope: Scope, config: VqganConfig, rows: Value): Value {
  if (config.codeChoice === 'projection') {
    return argMax(linear(scope.child('quantizer').child('proj'), rows, config.codebookSize), -1);
  }
  const codes = codebook(scope, config);
  const squares = reduceSum(mul(codes, codes), [1]); // (K)
  return argMin(gemm(rows, codes, squares, { transB: true, alpha: -2 }), -1);
}

/** Tokens int64 (B, g·g) → codes (B, codeSize, g, g). */
export function lookUp(scope: Scope, config: VqganConfig, tokens: Value, side: number): Value {
  const codes = gather(codebook(scope, config), tokens); // (B, g·g, C)
  return reshape(transpose(codes, [0, 2, 1]), [tokens.shape[0]!, config.codeSize, side, side]);
}

/** What the quantiser makes of latents. */
export interface Quantized {
  /** Value: the codes; gradient: goes to the latents unchanged. (B, C, g, g) */
  readonly codes: Value;
  /** mse(x, sg(q)) + 0.2·mse(sg(x), q), a scalar. */
  readonly loss: Value;
  /** int64 (B·g·g) */
  readonly tokens: Value;
  /** The latents as rows (B·g·g, C). */
  readonly rows: Value;
}

/** The quantiser in training: van den Oord et al., arXiv 1711.00937, with the weights of the released CLIP-GEN. */
export function quantize(scope: Scope, config: VqganConfig, latents: Value): Quantized {
  if (config.codeChoice === 'projection') {
    throw new ClipGenError('unimplemented', "codeChoice must be 'nearest' in training; got 'projection'");
  }
  const [batch, channels, height, width] = latents.shape as [number | string, number, number, number];
  const rows = latentRows(latents);
  const tokens = nearestCodes(scope, config, stopGradient(rows));
  const chosen = gather(codebook(scope, config), tokens); // (N, C)
  const toCodes = sub(rows, stopGradient(chosen));
  const toLatents = sub(stopGradient(rows), chosen);
  const loss = add(reduceMean(mul(toCodes, toCodes)), mul(reduceMean(mul(toLatents, toLatents)), CODEBOOK_WEIGHT));
  const through = straightThrough(rows, chosen);
  const codes = transpose(reshape(through, [batch, height, width, channels]), [0, 3, 1, 2]);
  return { codes, loss, tokens, rows };
}
