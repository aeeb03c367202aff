import { gradients } from '@clip-gen/autodiff';
import { GraphBuilder, mul, reduceSum, type Value } from '@clip-gen/graph';
import type { Tensor } from '@clip-gen/tensor';
import { expectClose, runGraph } from '@clip-gen/testing';
import { describe, expect, it } from 'vitest';
import { adaptiveWeight } from './adversarial.ts';
import { contrastive, contrastiveShare } from './contrastive.ts';
import { featureDistance } from './perceptual.ts';
import { l1, mse } from './reconstruction.ts';
import { tokenCrossEntropy } from './token-prediction.ts';

// Against closed forms. The agreement of contrastive, hinge, adaptive weight, cross-entropy and straight-through with
// PyTorch is held by the tests of libs/clip, libs/vqgan and libs/gpt, inside the models that use them.

const float = (shape: number[], values: readonly number[]): Tensor<'float32'> => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});

/** The loss of `feeds` and its gradient at each of them. */
async function evaluate(
  feeds: Readonly<Record<string, Tensor<'float32'>>>,
  loss: (inputs: Record<string, Value>) => Value,
): Promise<Record<string, Float32Array>> {
  const graph = new GraphBuilder('loss');
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { shape }]) => [name, graph.input(name, 'float32', shape)]),
  );
  const value = loss(inputs);
  graph.output('loss', value);
  gradients(value, Object.values(inputs)).forEach((gradient, i) =>
    graph.output(`grad.${Object.keys(inputs)[i]!}`, gradient),
  );
  const results = await runGraph(graph, feeds);
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]));
}

describe('l1 and mse', () => {
  const feeds = { a: float([2, 2], [1, -2, 3, 0.5]), b: float([2, 2], [0, -4, 4, 0]) };

  it('are the mean of |a − b| and of (a − b)², with their derivatives', async () => {
    const absolute = await evaluate(feeds, ({ a, b }) => l1(a!, b!));
    expectClose(absolute['loss']!, [4.5 / 4], { absolute: 1e-7 });
    expectClose(absolute['grad.a']!, [0.25, 0.25, -0.25, 0.25], { absolute: 0 });
    const squared = await evaluate(feeds, ({ a, b }) => mse(a!, b!));
    expectClose(squared['loss']!, [6.25 / 4], { absolute: 1e-7 });
    expectClose(squared['grad.b']!, [-0.5, -1, 0.5, -0.25], { absolute: 1e-7 });
  });
});

describe('contrastive', () => {
  it('is log B when every caption fits equally well, and 0 for certain pairs', async () => {
    const same = { images: float([3, 2], [1, 0, 1, 0, 1, 0]), texts: float([3, 2], [1, 0, 1, 0, 1, 0]) };
    const loss = (scale: number) => (inputs: Record<string, Value>) =>
      contrastive(inputs['images']!, inputs['texts']!, inputs['images']!.graph.scalar(scale));
    const uniform = await evaluate(same, loss(2));
    expectClose(uniform['loss']!, [Math.log(3)], { absolute: 1e-6 });

    const identity = float([3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]);
    const certain = await evaluate({ images: identity, texts: identity }, loss(Math.log(100)));
    expectClose(certain['loss']!, [0], { absolute: 1e-6 });
  });

  it('takes both directions: one caption that fits two pictures', async () => {
    // Similarities [[1, 0], [1, 0]] times s: by picture ½(log(1+e^−s) + log(1+e^s)); by caption log 2 each.
    const s = 3;
    const feeds = { images: float([2, 2], [1, 0, 1, 0]), texts: float([2, 2], [1, 0, 0, 1]) };
    const { loss } = await evaluate(feeds, ({ images, texts }) =>
      contrastive(images!, texts!, images!.graph.scalar(Math.log(s))),
    );
    const byPicture = (Math.log1p(Math.exp(-s)) + Math.log1p(Math.exp(s))) / 2;
    expectClose(loss!, [(byPicture + Math.LN2) / 2], { absolute: 1e-6 });
  });

  it('is the mean of its shares, and its gradient the sum of theirs at the rows of each and of all', async () => {
    const rows = (seed: number): Tensor<'float32'> => {
      const angles = Array.from({ length: 4 }, (_, i) => Math.sin(seed + 3 * i) * 3);
      return float(
        [4, 2],
        angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)]),
      );
    };
    const [images, texts] = [rows(1), rows(2)];
    const scale = float([], [1.5]);
    const whole = await evaluate({ images, texts, scale }, (inputs) =>
      contrastive(inputs['images']!, inputs['texts']!, inputs['scale']!),
    );
    const part = ({ data }: Tensor<'float32'>, first: number): Tensor<'float32'> =>
      float([2, 2], [...data.subarray(2 * first, 2 * first + 4)]);
    const shares = await Promise.all(
      [0, 2].map((first) => {
        const own = { images: part(images, first), texts: part(texts, first) };
        return evaluate({ ...own, allImages: images, allTexts: texts, scale }, (inputs) => {
          const all = { images: inputs['allImages']!, texts: inputs['allTexts']! };
          return contrastiveShare({ images: inputs['images']!, texts: inputs['texts']! }, all, inputs['scale']!, first);
        });
      }),
    );
    const mean = (name: string): number[] =>
      Array.from(shares[0]![name]!, (value, i) => (value + shares[1]![name]![i]!) / 2);
    expectClose(mean('loss'), whole['loss']!, { absolute: 1e-6 });
    expectClose(mean('grad.scale'), whole['grad.scale']!, { absolute: 1e-6 });
    for (const [name, all] of [
      ['grad.images', 'grad.allImages'],
      ['grad.texts', 'grad.allTexts'],
    ] as const) {
      const own = shares.flatMap((share) => [...share[name]!]);
      const sum = own.map((value, i) => value / 2 + mean(all)[i]!);
      expectClose(sum, whole[name]!, { absolute: 1e-6 });
    }
  });
});

describe('tokenCrossEntropy', () => {
  it('is log K for equal logits', async () => {
    const graph = new GraphBuilder('loss');
    const logits = graph.input('logits', 'float32', [1, 2, 5]);
    graph.output('loss', tokenCrossEntropy(logits, graph.input('tokens', 'int64', [1, 2])));
    const feeds = {
      logits: float([1, 2, 5], new Array<number>(10).fill(7)),
      tokens: { dtype: 'int64', shape: [1, 2], data: BigInt64Array.of(0n, 4n) } as const,
    };
    expectClose((await runGraph(graph, feeds))['loss']!.data as Float32Array, [Math.log(5)], { absolute: 1e-6 });
  });
});

describe('featureDistance', () => {
  it('sums squared differences of unit rows, and averages over positions and layers', async () => {
    // Layer 1: unit rows (1, 0) and (0.6, 0.8), squared distance 2 − 2·0.6; the second position is equal. Layer 2: opposite.
    const feeds = {
      a1: float([1, 2, 2], [5, 0, 1, 1]),
      b1: float([1, 2, 2], [0.3, 0.4, 2, 2]),
      a2: float([1, 1, 2], [0, 2]),
      b2: float([1, 1, 2], [0, -7]),
    };
    const distance = ({ a1, a2, b1, b2 }: Record<string, Value>): Value => featureDistance([a1!, a2!], [b1!, b2!]);
    const result = await evaluate(feeds, distance);
    expectClose(result['loss']!, [((2 - 1.2) / 2 + 4) / 2], { absolute: 1e-6 });
    // It does not see the length of a row, so the gradient has no part along it.
    const [x, y] = result['grad.b1']!.subarray(0, 2) as unknown as [number, number];
    expect(Math.abs(x * 0.3 + y * 0.4)).toBeLessThan(1e-6);
    // −2·(a·∂unit(b)) / (positions · layers), unit(b) = (0.6, 0.8), ‖b‖ = 0.5.
    expectClose([x, y], [-(2 * (1 - 0.36)) / 0.5 / 4, (2 * 0.48) / 0.5 / 4], { absolute: 1e-5 });
  });

  it('has a finite gradient for a row of zeros', async () => {
    const feeds = { a: float([1, 1, 3], [0, 0, 0]), b: float([1, 1, 3], [1, 2, 3]) };
    const result = await evaluate(feeds, ({ a, b }) => featureDistance([a!], [b!]));
    expect([...result['grad.a']!, ...result['grad.b']!, ...result['loss']!].every(Number.isFinite)).toBe(true);
  });
});

describe('adaptiveWeight', () => {
  const weightOf = async (adversarialFactor: number): Promise<number> => {
    const graph = new GraphBuilder('loss');
    const last = graph.input('last', 'float32', [2]);
    const picture = mul(last, graph.scalar(1));
    // ‖∇ reconstruction‖ = ‖(3, 4)‖ and ‖∇ adversarial‖ = factor · ‖(3, 4)‖.
    const reconstruction = reduceSum(mul(picture, graph.input('direction', 'float32', [2])));
    const adversarial = mul(reconstruction, adversarialFactor);
    graph.output('weight', adaptiveWeight(reconstruction, adversarial, picture, last).weight);
    const feeds = { last: float([2], [1, 1]), direction: float([2], [3, 4]) };
    return Number((await runGraph(graph, feeds))['weight']!.data[0]);
  };

  it('is the ratio of the gradients’ norms', async () => {
    expectClose([await weightOf(0.1)], [5 / (0.5 + 1e-4)], { relative: 1e-5 });
  });

  it('stays at most 1e4 when the adversarial gradient vanishes', async () => {
    expect(await weightOf(1e-9)).toBe(1e4);
  });
});
