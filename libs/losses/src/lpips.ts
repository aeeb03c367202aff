import { add, conv, div, max, mul, reduceMean, reduceSum, relu, slice, sqrt, sub, type Value } from '@clip-gen/graph';
import { tensor } from '@clip-gen/tensor';
import { fanIn, ones, type Scope } from '@clip-gen/nn';

/** Slices of VGG16: channels and the indices of the convolutions in torchvision's `features`. */
const SLICES = [
  { channels: 64, convolutions: [0, 2] },
  { channels: 128, convolutions: [5, 7] },
  { channels: 256, convolutions: [10, 12, 14] },
  { channels: 512, convolutions: [17, 19, 21] },
  { channels: 512, convolutions: [24, 26, 28] },
] as const;
const SHIFT = [-0.03, -0.088, -0.188];
const SCALE = [0.458, 0.448, 0.45];

/**
 * LPIPS over VGG16 (Zhang et al., arXiv 1801.03924): pixels in [−1, 1] (B, 3, S, S), S a multiple of 16 → the mean
 * distance, a scalar. Parameter names are those of the published weights: `net.slice{1–5}.{index}`, `lin{0–4}.model.1`.
 */
export function lpips(scope: Scope, a: Value, b: Value): Value {
  const [first, second] = [vggFeatures(scope, a), vggFeatures(scope, b)];
  const layers = first.map((features, i) => {
    const difference = sub(unitChannels(features), unitChannels(second[i]!));
    const weight = scope
      .child(`lin${i}`)
      .child('model')
      .child(1)
      .parameter('weight', [1, SLICES[i]!.channels, 1, 1], ones);
    return reduceMean(conv(mul(difference, difference), weight, null));
  });
  return layers.reduce((sum, layer) => add(sum, layer));
}

function vggFeatures(scope: Scope, pixels: Value): Value[] {
  const channelwise = (values: readonly number[]): Value =>
    pixels.graph.constant(tensor('float32', [1, 3, 1, 1], Float32Array.from(values)));
  let x = div(sub(pixels, channelwise(SHIFT)), channelwise(SCALE));
  return SLICES.map(({ channels, convolutions }, i) => {
    if (i > 0) x = maxPool2(x);
    for (const index of convolutions) {
      const layer = scope
        .child('net')
        .child(`slice${i + 1}`)
        .child(index);
      const into = x.shape[1] as number;
      const weight = layer.parameter('weight', [channels, into, 3, 3], fanIn(9 * into));
      x = relu(conv(x, weight, layer.parameter('bias', [channels], fanIn(9 * into)), { pads: [1, 1, 1, 1] }));
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

/** Scaled to unit length over the channels, (B, C, H, W). */
function unitChannels(x: Value): Value {
  return div(x, max(sqrt(add(reduceSum(mul(x, x), [1], true), 1e-24)), 1e-12));
}
