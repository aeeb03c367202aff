import { gradients } from '@clip-gen/autodiff';
import { add, GraphBuilder, mul, stopGradient, type Value } from '@clip-gen/graph';
import { adaptiveWeight, hingeDiscriminator, hingeGenerator, l1 } from '@clip-gen/losses';
import { Scope } from '@clip-gen/nn';
import type { Tensor } from '@clip-gen/tensor';
import { expectTensor, loadGoldens, runGraph, type Goldens } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { VqganConfig } from './config.ts';
import { decodeLatents } from './decoder.ts';
import { discriminate, type BatchStatistics } from './discriminator.ts';
import { encodeLatents } from './encoder.ts';
import { latentRows, lookUp, nearestCodes, quantize } from './quantizer.ts';
import { updateRunningStatistics } from './running-statistics.ts';

const sizes = { model: 'vqgan', imageSize: 16, blocks: 1, codebookSize: 16, codeSize: 8 } as const;
const CASES: readonly { readonly file: string; readonly config: VqganConfig }[] = [
  {
    file: 'vqgan-tiny',
    config: { ...sizes, patchSize: 1, channels: 4, multipliers: [1, 2], attentionSides: [8], groups: 2 },
  },
  {
    file: 'vqgan-tiny-patch2',
    config: { ...sizes, patchSize: 2, channels: 8, multipliers: [1, 1], attentionSides: [4], groups: 4 },
  },
  {
    file: 'vqgan-tiny-patch-encoder',
    config: {
      ...sizes,
      patchSize: 2,
      channels: 8,
      multipliers: [1, 1],
      attentionSides: [4],
      groups: 4,
      patchEncoder: { width: 12, blocks: 2 },
    },
  },
];
const DISCRIMINATOR = { layers: 2, channels: 4 };
const ADVERSARIAL_WEIGHT = 0.8;

// PyTorch's own float32 run lies 2e-6 (values) and 6e-6 (gradients) from its float64 run, of the largest element.
const VALUES = { relative: 1e-5, scale: 'max' } as const;
const GRADIENTS = { relative: 5e-5, scale: 'max' } as const;

function weights(graph: GraphBuilder, goldens: Goldens): Record<string, Tensor> {
  return Object.fromEntries(graph.parameters.map(({ name }) => [name, goldens.tensor(`weights.${name}`)]));
}

/** One training step, both sides, without the optimisers: what tools/goldens/cases/vqgan.py computes. */
function trainingStep(config: VqganConfig, passes: BatchStatistics[][]): GraphBuilder {
  const graph = new GraphBuilder('step');
  const scope = new Scope(graph);
  const image = graph.input('image', 'float32', [2, 3, 16, 16]);
  const latents = encodeLatents(scope, config, image);
  const { codes, loss: quantizerLoss, tokens } = quantize(scope, config, latents);
  const reconstruction = decodeLatents(scope, config, codes);
  const generator = graph.parameters.map(({ value }) => value);
  const pass = (pixels: Value): Value => {
    const statistics: BatchStatistics[] = [];
    passes.push(statistics);
    return discriminate(scope, pixels, { ...DISCRIMINATOR, statistics });
  };

  const difference = l1(image, reconstruction);
  const logitsGenerator = pass(reconstruction);
  const adversarial = hingeGenerator(logitsGenerator);
  const last = graph.parameter('decoder.final.2.weight', [
    3 * config.patchSize ** 2,
    config.channels * config.multipliers[0]!,
    3,
    3,
  ]);
  const { weight, fromReconstruction, fromAdversarial } = adaptiveWeight(difference, adversarial, reconstruction, last);
  const scaled = mul(weight, ADVERSARIAL_WEIGHT);
  const total = add(add(difference, quantizerLoss), mul(scaled, adversarial));

  const fake = stopGradient(reconstruction);
  const [logitsReal, logitsFake] = [pass(image), pass(fake)];
  const hinge = hingeDiscriminator(logitsReal, logitsFake);
  const discriminator = graph.parameters.map(({ value }) => value).slice(generator.length);

  const outputs: Record<string, Value> = {
    'output.encoder': latents,
    'output.indices': tokens,
    'output.quantised': codes,
    'output.reconstruction': reconstruction,
    'output.logits_generator': logitsGenerator,
    'output.logits_real': logitsReal,
    'output.logits_fake': logitsFake,
    'loss.l1': difference,
    'loss.quantizer': quantizerLoss,
    'loss.adversarial': adversarial,
    'loss.adaptive_weight': weight,
    'loss.total': total,
    'loss.hinge': hinge,
    'grad_adversarial.reconstruction': fromAdversarial,
  };
  const output = (kind: string, values: readonly Value[], computed: readonly Value[]): void =>
    values.forEach((value, i) => (outputs[`${kind}.${value.name}`] = computed[i]!));
  output('grad', generator, gradients(add(difference, quantizerLoss), generator));
  const cotangent = add(fromReconstruction, mul(fromAdversarial, scaled));
  output(
    'grad_total',
    generator,
    gradients([{ value: reconstruction, cotangent }, { value: quantizerLoss }], generator),
  );
  output('grad_discriminator', discriminator, gradients(hinge, discriminator));
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value);
  passes.forEach((statistics, i) =>
    statistics.forEach(({ module, mean, inverseStd }) => {
      graph.output(`statistics.${i}.${module}.mean`, mean);
      graph.output(`statistics.${i}.${module}.inverse`, inverseStd);
    }),
  );
  return graph;
}

describe.each(CASES)('$file', ({ file, config }) => {
  let goldens: Goldens;
  let results: Record<string, Tensor>;
  const passes: BatchStatistics[][] = [];

  beforeAll(async () => {
    goldens = await loadGoldens(new URL(`../goldens/${file}.safetensors`, import.meta.url));
    const graph = trainingStep(config, passes);
    results = await runGraph(graph, { ...weights(graph, goldens), image: goldens.tensor('input.image') });
  });

  it('finds the same codes', () => {
    const { shape, ...indices } = goldens.tensor('output.indices', 'int64');
    expectTensor(
      'indices',
      results['output.indices'],
      { ...indices, shape: [shape[0]! * shape[1]! * shape[2]!] },
      VALUES,
    );
  });

  it.each(['encoder', 'quantised', 'reconstruction', 'logits_generator', 'logits_real', 'logits_fake'])(
    'agrees with PyTorch: output.%s',
    (name) => expectTensor(name, results[`output.${name}`], goldens.tensor(`output.${name}`), VALUES),
  );

  it.each(['l1', 'quantizer', 'adversarial', 'adaptive_weight', 'total', 'hinge'])(
    'agrees with PyTorch: loss.%s',
    (name) => {
      // −mean(logits): the logits cancel, so they set the scale and not what is left of them.
      const logits = goldens.tensor('output.logits_generator').data;
      const largest = Math.max(...logits.map(Math.abs));
      const tolerance = name === 'adversarial' ? { absolute: VALUES.relative * largest } : VALUES;
      expectTensor(name, results[`loss.${name}`], goldens.tensor(`loss.${name}`), tolerance);
    },
  );

  it.each(['grad', 'grad_total', 'grad_adversarial', 'grad_discriminator'])(
    'agrees with PyTorch: every gradient of %s',
    (kind) => {
      const expected = [...goldens.keys()].filter((name) => name.startsWith(`${kind}.`));
      const ours = Object.keys(results).filter((name) => name.startsWith(`${kind}.`));
      expect(ours.sort()).toEqual([...expected].sort());
      for (const name of expected) expectTensor(name, results[name], goldens.tensor(name), GRADIENTS);
    },
  );

  it('moves the running statistics as three passes of PyTorch do', () => {
    for (const module of passes[0]!.map((statistics) => statistics.module)) {
      const running = {
        mean: goldens.tensor(`weights.${module}.running_mean`).data.slice(),
        variance: goldens.tensor(`weights.${module}.running_var`).data.slice(),
      };
      passes.forEach((statistics, i) => {
        const { count } = statistics.find((batch) => batch.module === module)!;
        const mean = results[`statistics.${i}.${module}.mean`]!.data as Float32Array;
        const inverse = results[`statistics.${i}.${module}.inverse`]!.data as Float32Array;
        updateRunningStatistics(running, mean, inverse, count);
      });
      const after = (name: string): Tensor<'float32'> => goldens.tensor(`output.after.${module}.${name}`);
      const actual = (data: Float32Array): Tensor => ({ dtype: 'float32', shape: [data.length], data });
      expectTensor(`${module} mean`, actual(running.mean), after('running_mean'), VALUES);
      expectTensor(`${module} variance`, actual(running.variance), after('running_var'), VALUES);
    }
  });

  it('needs every float weight of the state dict and no other', () => {
    const graph = trainingStep(config, []);
    const ours = graph.parameters.map(({ name, value }) => `${name} ${value.shape.join('×')}`);
    const theirs = [...goldens].flatMap(([name, { dtype, shape }]) =>
      name.startsWith('weights.') && dtype === 'float32' && !name.includes('.running_')
        ? [`${name.slice(8)} ${shape.join('×')}`]
        : [],
    );
    expect(ours.sort()).toEqual(theirs.sort());
  });

  it('encodes to tokens and decodes tokens with a named batch as with a fixed one', async () => {
    const side = 16 / (config.patchSize * 2);
    const build = (size: number | string): GraphBuilder => {
      const graph = new GraphBuilder('serve');
      const scope = new Scope(graph);
      const image = graph.input('image', 'float32', [size, 3, 16, 16]);
      graph.output('found', nearestCodes(scope, config, latentRows(encodeLatents(scope, config, image))));
      const tokens = graph.input('tokens', 'int64', [size, side * side]);
      graph.output('pixels', decodeLatents(scope, config, lookUp(scope, config, tokens, side)));
      return graph;
    };
    const indices = goldens.tensor('output.indices', 'int64').data;
    const image = goldens.tensor('input.image').data;
    for (const batch of [1, 2]) {
      const feeds: Record<string, Tensor> = {
        image: { dtype: 'float32', shape: [batch, 3, 16, 16], data: image.slice(0, batch * 768) },
        tokens: { dtype: 'int64', shape: [batch, side * side], data: indices.slice(0, batch * side * side) },
      };
      const [named, fixed] = [build('B'), build(batch)];
      const a = await runGraph(named, { ...weights(named, goldens), ...feeds });
      const b = await runGraph(fixed, { ...weights(fixed, goldens), ...feeds });
      expect(a['found']!.data).toEqual(indices.slice(0, batch * side * side));
      expect(a['found']!.data).toEqual(b['found']!.data);
      expectTensor('pixels', a['pixels'], b['pixels']!, { relative: 1e-6, scale: 'max' });
      if (batch === 2) expectTensor('pixels', a['pixels'], goldens.tensor('output.reconstruction'), VALUES);
    }
  });
});
