import { add, conv, div, max, mul, reduceMean, reduceSum, relu, slice, sqrt, sub, type Value } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { fanIn, ones, type Scope } from '@clip-gen/nn';

/** Channels of the five slices of VGG16. */
const VGG16_CHANNELS = [64, 128, 256, 512, 512] as const;
/** Of VGG16, by slice: the indices of the convolutions in torchvision's `features`. */
export const VGG16_CONVOLUTIONS = [
  [0, 2],
  [5, 7],
  [10, 12, 14],
  [17, 19, 21],
  [24, 26, 28],
] as const;
/** Mean and standard deviation of ImageNet's pixels, by channel, on the scale of [−1, 1]. */
const SHIFT = [-0.03, -0.088, -0.188];
const SCALE = [0.458, 0.448, 0.45];

/** Of the network under LPIPS. */
export interface LpipsOptions {
  /** Channels of the five slices of the network; VGG16's by default. */
  readonly channels?: readonly number[];
}

/**
 * LPIPS over VGG16 (Zhang et al., arXiv 1801.03924): pixels in [−1, 1] (B, 3, S, S), S a multiple of 16 → the mean
 * distance, a scalar. Parameter names are those of the published weights: `net.slice{1–5}.{index}`, `lin{0–4}.model.1`.
 */
export function lpips(scope: Scope, a: Value, b: Value, { channels = VGG16_CHANNELS }: LpipsOptions = {}): Value {
  const [first, second] = [vggFeatures(scope, a, channels), vggFeatures(scope, b, channels)];
  const layers = first.map((features, i) => {
    const difference = sub(unitChannels(features), unitChannels(second[i]!));
    const layer = scope.child(`lin${i}`).child('model').child(1);
    const weight = layer.parameter('weight', [1, channels[i]!, 1, 1], ones);
    return reduceMean(conv(mul(difference, difference), weight, null));
  });
  return layers.reduce((sum, layer) => add(sum, layer));
}

/** What leaves each slice: (B, C, S, S), (B, C, S/2, S/2), … */
function vggFeatures(scope: Scope, pixels: Value, channels: readonly number[]): Value[] {
  const channelwise = (values: readonly number[]): Value =>
    pixels.graph.constant(tensor('float32', [1, 3, 1, 1], Float32Array.from(values)));
  let x = div(sub(pixels, channelwise(SHIFT)), channelwise(SCALE));
  return VGG16_CONVOLUTIONS.map((convolutions, i) => {
    const width = channels[i]!;
    if (i > 0) x = maxPool2(x);
    for (const index of convolutions) {
      const layer = scope
        .child('net')
        .child(`slice${i + 1}`)
        .child(index);
      const into = x.shape[1] as number;
      const weight = layer.parameter('weight', [width, into, 3, 3], fanIn(9 * into));
      x = relu(conv(x, weight, layer.parameter('bias', [width], fanIn(9 * into)), { pads: [1, 1, 1, 1] }));
    }
    return x;
  });
}

/** Maximum of each 2 × 2 block, as the larger of four strided slices: its gradient is that of Max. */
function maxPool2(x: Value): Value {
  const [height, width] = [x.shape[2] as number, x.shape[3] as number];
  const corner = (row: number, column: number): Value => slice(slice(x, 2, row, height, 2), 3, column, width, 2);
  return max(max(corner(0, 0), corner(0, 1)), max(corner(1, 0), corner(1, 1)));
}

/** Scaled to unit length over the channels, (B, C, H, W). The root keeps away from 0, where it has no gradient. */
function unitChannels(x: Value): Value {
  return div(x, sqrt(add(reduceSum(mul(x, x), [1], true), 1e-20)));
}
