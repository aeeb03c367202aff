import { ClipGenError } from '@clip-gen/errors';
import { add, concat, int, reshape, showShape, silu, slice, type Value } from '@clip-gen/graph';
import { blockedSameConv, blockedUpsampledConv, convParameters, wholeBlocks } from './blocked-convolution.ts';
import { blockedGroupNorm } from './blocked-norm.ts';
import { attendPositions, type MapLayers } from './map-layers.ts';
import { edgesOf, mapOfStrips, stripEdges, type StripedMap } from './strips.ts';
import { winogradConv, winogradPays } from './winograd.ts';

/**
 * Layers on maps whose channels lie in blocks, (1, C/block, H, W, block) under the shape (1, C, H, W), which ONNX
 * Runtime's fastest convolutions on a CPU read and write, and in strips of rows: a map stays so from `enter` to `leave`.
 * Not differentiable. One picture at a time: all batches are 1. All channel counts must be multiples of `block`. Weights
 * are laid out by operators that depend on nothing else: `encodePrepared` has them done once.
 *
 * @param block 8 or 16: `nativeChannelBlock()` of the runtime
 */
export function blockedLayers(block: 8 | 16): MapLayers<StripedMap> {
  const toBlocks = (x: Value): Value => x.graph.emit('ReorderInput', [x], {}, [x])[0]!;
  const toPlain = (x: Value, channels = x.shape[1] as number): Value => {
    const shape = [x.shape[0]!, channels, ...x.shape.slice(2)];
    return x.graph.emit('ReorderOutput', [x], { channels: int(channels) }, [{ dtype: x.dtype, shape }])[0]!;
  };
  const inStrips = (x: Value, shape: StripedMap['shape'], edges: ReturnType<typeof edgesOf>): StripedMap => {
    const [, channels, height, width] = shape;
    const rows = reshape(toBlocks(x), [1, channels / block, height, width * block]);
    return mapOfStrips(shape, edges, (from, to) => reshape(slice(rows, 2, from, to), [1, channels, to - from, width]));
  };
  const leave = (x: StripedMap, channels?: number): Value =>
    concat(
      x.strips.map(({ rows }) => toPlain(rows, channels)),
      2,
    );
  return {
    enter(x) {
      const [batch, channels, height, width] = x.shape;
      if (batch !== 1 || Number(channels) % block !== 0) {
        const wanted = `[1, a multiple of ${block}, H, W]`;
        throw new ClipGenError(
          'invalid_argument',
          `the map that enters blocks must be ${wanted}; got ${showShape(x.shape)}`,
        );
      }
      const shape = [1, Number(channels), Number(height), Number(width)] as const;
      return inStrips(x, shape, stripEdges(shape));
    },
    leave: (x) => leave(x),
    conv2d(scope, x, out, kernel, residual) {
      const [weight, bias] = convParameters(scope, x, out, kernel);
      if (kernel !== 3 || !winogradPays(x, out)) return blockedSameConv(x, weight, bias, { block, residual });
      const y = winogradConv(x, weight, bias, block);
      if (!residual) return y;
      return mapOfStrips(y.shape, edgesOf(y), (_from, _to, i) => add(y.strips[i]!.rows, residual.strips[i]!.rows));
    },
    lastConv2d(scope, x, out, kernel) {
      const [weight, bias] = wholeBlocks(...convParameters(scope, x, out, kernel), block);
      return leave(blockedSameConv(x, weight, bias, { block }), out);
    },
    upsample(scope, x) {
      const [weight, bias] = convParameters(scope, x, x.shape[1], 3);
      return blockedUpsampledConv(x, weight, bias, block);
    },
    normalized: (scope, x, norm) => blockedGroupNorm(scope, x, norm, block, silu),
    attention({ norm, attention }, x, sizes) {
      const mixed = attendPositions(attention, leave(blockedGroupNorm(norm, x, sizes, block)));
      const y = inStrips(mixed, x.shape, edgesOf(x));
      return mapOfStrips(x.shape, edgesOf(x), (_from, _to, i) => add(x.strips[i]!.rows, y.strips[i]!.rows));
    },
  };
}
