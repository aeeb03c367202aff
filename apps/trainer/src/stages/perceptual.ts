import { clipConfigSchema, encodeImage, fromSignedPixels, type ClipConfig } from '@clip-gen/clip';
import { stopGradient, type Value } from '@clip-gen/graph';
import { featureDistance, lpips } from '@clip-gen/losses';
import { resizeBilinear, type Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import type { VqganTraining } from '../config.ts';
import { loadFrozenModel, loadFrozenWeights } from '../frozen-weights.ts';
import { prefixed } from '../prefixed.ts';

/** Prefix of the frozen perceptual network's parameters. */
export const PERCEPTUAL_PREFIX = 'perceptual.';

export type Perceptual =
  | { readonly kind: 'none' }
  | { readonly kind: 'clip'; readonly weight: number; readonly config: ClipConfig }
  | { readonly kind: 'lpips'; readonly weight: number };

export interface PerceptualNetwork {
  readonly network: Perceptual;
  /** Under `PERCEPTUAL_PREFIX`. */
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>;
  /** None when there is no network. */
  readonly hash?: string;
}

/** @throws not_found, data_corrupt */
export async function loadPerceptual(settings: VqganTraining['perceptual']): Promise<PerceptualNetwork> {
  const { kind } = settings;
  if (kind === 'none') return { network: { kind }, weights: {} };
  const { weight, path } = settings;
  if (kind === 'lpips') {
    const { weights, hash } = await loadFrozenWeights(path);
    return { network: { kind, weight }, weights: prefixed(PERCEPTUAL_PREFIX, weights), hash };
  }
  const { config, weights, hash } = await loadFrozenModel(path, clipConfigSchema);
  return { network: { kind, weight, config }, weights: prefixed(PERCEPTUAL_PREFIX, weights), hash };
}

/** Distance of pictures (B, 3, S, S) in [−1, 1] as the network sees it, a scalar. `scope` holds its parameters. */
export function perceptualDistance(
  scope: Scope,
  network: Exclude<Perceptual, { kind: 'none' }>,
  original: Value,
  picture: Value,
): Value {
  if (network.kind === 'lpips') return lpips(scope, original, picture);
  const { config } = network;
  const features = (pixels: Value): Value[] => {
    const layers: Value[] = [];
    encodeImage(scope, config, fromSignedPixels(resizeBilinear(pixels, config.vision.imageSize)), layers);
    return layers;
  };
  return featureDistance(features(stopGradient(original)), features(picture));
}
