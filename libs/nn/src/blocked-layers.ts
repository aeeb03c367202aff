import { ClipGenError } from '@clip-gen/errors';
import { add, int, showShape, silu, type Value } from '@clip-gen/graph';
import { blockedConv, blockedUpsampledConv, convParameters, layBlocks, wholeBlocks } from './blocked-convolution.ts';
import { blockedGroupNorm } from './blocked-norm.ts';
import { same } from './convolution.ts';
import { attendPositions, type MapLayers } from './map-layers.ts';
import { winogradConv, winogradPays } from './winograd.ts';

/**
 * Layers on maps whose channels lie in blocks, (1, C/block, H, W, block) under the shape (1, C, H, W), which ONNX
 * Runtime's fastest convolutions on a CPU read and write: a map stays so from `enter` to `leave`. Not differentiable. One
 * picture at a time: all batches are 1. All channel counts must be multiples of `block`. Weights are laid out by operators that ONNX Runtime folds when it loads.
 *
 * @param block 8 or 16: `nativeChannelBlock()` of the runtime
 */
export function blockedLayers(block: 8 | 16): MapLayers {
  const enter = (x: Value): Value => {
    const [batch, channels] = x.shape;
    if (batch !== 1 || Number(channels) % block !== 0) {
      const wanted = `[1, a multiple of ${block}, H, W]`;
      throw new ClipGenError(
        'invalid_argument',
        `the map that enters blocks must be ${wanted}; got ${showShape(x.shape)}`,
      );
    }
    return x.graph.emit('ReorderInput', [x], {}, [x])[0]!;
  };
  const leave = (x: Value, channels = x.shape[1] as number): Value => {
    const shape = [x.shape[0]!, channels, ...x.shape.slice(2)];
    return x.graph.emit('ReorderOutput', [x], { channels: int(channels) }, [{ dtype: x.dtype, shape }])[0]!;
  };
  return {
    enter,
    leave: (x) => leave(x),
    conv2d(scope, x, out, kernel, residual) {
      const [weight, bias] = convParameters(scope, x, out, kernel);
      if (kernel === 3 && winogradPays(x, out)) {
        const y = winogradConv(x, weight, bias, block);
        return residual ? add(y, residual) : y;
      }
      const sum = residual ? { sum: residual } : {};
      return blockedConv(x, layBlocks(weight, block), bias, { pads: same(kernel), ...sum });
    },
    lastConv2d(scope, x, out, kernel) {
      const [weight, bias] = wholeBlocks(...convParameters(scope, x, out, kernel), block);
      return leave(blockedConv(x, layBlocks(weight, block), bias, { pads: same(kernel) }), out);
    },
    upsample(scope, x) {
      const [weight, bias] = convParameters(scope, x, x.shape[1] as number, 3);
      return blockedUpsampledConv(x, weight, bias, block);
    },
    normalized: (scope, x, norm) => silu(blockedGroupNorm(scope, x, norm, block)),
    attention: ({ norm, attention }, x, sizes) =>
      add(x, enter(attendPositions(attention, leave(blockedGroupNorm(norm, x, sizes, block))))),
  };
}
