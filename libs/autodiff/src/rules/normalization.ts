import {
  add,
  div,
  exp,
  intAttribute,
  mul,
  neg,
  reduceMean,
  reduceSum,
  reshape,
  staticShape,
  sub,
  type Value,
} from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

/** Gradients of softmax and the normalisations, by operator, from the statistics that these give. */
export const normalizationRules = {
  // dx = y·(dy − Σ dy·y)
  Softmax: (node, [dy]) => {
    const y = node.outputs[0]!;
    const axis = intAttribute(node.attributes, 'axis', -1);
    const weighted = mul(dy!, y);
    return [sub(weighted, mul(y, reduceSum(weighted, [axis], true)))];
  },
  // dx = dy − softmax(x)·Σ dy
  LogSoftmax: (node, [dy]) => {
    const axis = intAttribute(node.attributes, 'axis', -1);
    return [sub(dy!, mul(exp(node.outputs[0]!), reduceSum(dy!, [axis], true)))];
  },
  // x̂ = (x − mean)·inv; dx = inv·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·scale
  LayerNormalization: (node, [dy], needs) => {
    const [x, scale] = [node.inputs[0]!, node.inputs[1]!];
    const [, mean, inverse] = node.outputs as readonly [Value, Value, Value];
    const lead = x.shape.map((_, i) => i).slice(0, -1);
    const normalized = mul(sub(x, mean), inverse);
    const dx = (): Value => {
      const g = mul(dy!, scale);
      const slope = reduceMean(mul(g, normalized), [-1], true);
      return mul(inverse, sub(sub(g, reduceMean(g, [-1], true)), mul(normalized, slope)));
    };
    return [
      needs[0] ? dx() : null,
      needs[1] ? reduceSum(mul(dy!, normalized), lead) : null,
      needs[2] ? reduceSum(dy!, lead) : null,
    ];
  },
  // With S₁ = Σ dy and S₂ = Σ dy·x over each channel's area, everything but dx is arithmetic on (B, C), and
  // dx = dy·p + x·q + r with one p, q, r for each channel of each picture: few passes over the activation.
  GroupNormalization: (node, [dy]) => {
    const [x, scale] = [node.inputs[0]!, node.inputs[1]!];
    const [, mean, inverse] = node.outputs as readonly [Value, Value, Value]; // (B, G, 1)
    const groups = intAttribute(node.attributes, 'groups', 1);
    const [batch, channels, height, width] = staticShape(x.shape, 'GroupNormalization') as [
      number,
      number,
      number,
      number,
    ];
    const [each, area] = [channels / groups, height * width];
    const flatDy = reshape(dy!, [batch, channels, area]);
    const flatX = reshape(x, [batch, channels, area]);
    const s1 = reshape(reduceSum(flatDy, [2]), [batch, groups, each]);
    const s2 = reshape(reduceSum(mul(flatDy, flatX), [2]), [batch, groups, each]);
    const centred = mul(sub(s2, mul(mean, s1)), inverse); // Σ dy·x̂
    const gain = reshape(scale, [1, groups, each]);
    const m1 = div(reduceSum(mul(s1, gain), [2], true), each * area); // mean(g), (B, G, 1)
    const m2 = div(reduceSum(mul(centred, gain), [2], true), each * area); // mean(g·x̂)
    const p = reshape(mul(inverse, gain), [batch, channels, 1]);
    const q = neg(mul(mul(inverse, inverse), m2)); // (B, G, 1)
    const r = neg(add(mul(q, mean), mul(inverse, m1)));
    const toChannels = (v: Value): Value =>
      reshape(add(reshape(v, [batch, groups, 1]), x.graph.constant(zerosOf(each))), [batch, channels, 1]);
    const dx = add(add(mul(flatDy, p), mul(flatX, toChannels(q))), toChannels(r));
    return [
      reshape(dx, x.shape),
      reshape(reduceSum(centred, [0]), [channels]),
      reshape(reduceSum(s1, [0]), [channels]),
    ];
  },
  // as above with the statistics over batch and area
  BatchNormalization: (node, [dy]) => {
    const [x, scale] = [node.inputs[0]!, node.inputs[1]!];
    const [, mean, inverse] = node.outputs as readonly [Value, Value, Value]; // (1, C, 1, 1)
    const [batch, channels, height, width] = staticShape(x.shape, 'BatchNormalization') as [
      number,
      number,
      number,
      number,
    ];
    const count = batch * height * width;
    const over = [0, 2, 3];
    const s1 = reduceSum(dy!, over, true);
    const centred = mul(sub(reduceSum(mul(dy!, x), over, true), mul(mean, s1)), inverse);
    const p = mul(inverse, reshape(scale, [1, channels, 1, 1]));
    const q = neg(div(mul(mul(p, inverse), centred), count));
    const r = neg(add(mul(q, mean), div(mul(p, s1), count)));
    return [add(add(mul(dy!, p), mul(x, q)), r), reshape(centred, [channels]), reshape(s1, [channels])];
  },
} satisfies Record<string, GradientRule>;

function zerosOf(size: number) {
  return { dtype: 'float32', shape: [1, 1, size], data: new Float32Array(size) } as const;
}
