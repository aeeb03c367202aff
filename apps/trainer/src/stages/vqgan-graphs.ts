import { gradients } from '@clip-gen/autodiff';
import { add, GraphBuilder, mul, reduceMean, type Value } from '@clip-gen/graph';
import { adaptiveWeight, hingeDiscriminator, hingeGenerator, l1, mse } from '@clip-gen/losses';
import { Scope, type ParameterSpec } from '@clip-gen/nn';
import {
  decodeLatents,
  discriminate,
  encodeLatents,
  quantize,
  type BatchStatistics,
  type VqganConfig,
} from '@clip-gen/vqgan';
import { outputGradients } from '../step-graph.ts';
import { PERCEPTUAL_PREFIX, perceptualDistance, type Perceptual } from './perceptual.ts';

const DISCRIMINATOR_PREFIX = 'discriminator.';
/** Of the decoder's last convolution. */
const LAST_WEIGHT = 'decoder.final.2.weight';

export interface VqganLosses {
  readonly l1: number;
  readonly mse: number;
  readonly quantizer: number;
  readonly perceptual: Perceptual;
  /** Factor of the adversarial loss. */
  readonly adversarial: number;
}

export interface BuiltGraph {
  readonly graph: GraphBuilder;
  /** All parameters, frozen ones included. */
  readonly specs: readonly ParameterSpec[];
  readonly statistics: readonly BatchStatistics[];
}

/** Parameters of encoder, codebook and decoder. */
export function isGenerator(name: string): boolean {
  return !name.startsWith(DISCRIMINATOR_PREFIX) && !name.startsWith(PERCEPTUAL_PREFIX);
}

/** Parameters of the decoder alone. */
export function isDecoder(name: string): boolean {
  return name.startsWith('decoder.');
}

/**
 * What a graph of the generator does:
 * - `plain`: losses and gradients without the discriminator;
 * - `adversarial`: with it, the adaptive weight found within;
 * - `balance`: losses, and what the adaptive weight is found from where the batch is divided: the gradients of either
 *   loss at the last convolution, `last_…`, and at the picture, `from_…`;
 * - `backward`: the gradients alone, from a `cotangent` (B, 3, S, S) of the picture.
 */
export type GeneratorGraph = 'plain' | 'adversarial' | 'balance' | 'backward';

/**
 * The generator's step: images (B, 3, S, S) → losses, gradients, tokens (B·g·g), latent rows (B·g·g, C) and the
 * reconstruction. Losses as in the released CLIP-GEN: L1 + perceptual + quantiser + adaptive · adversarial.
 *
 * @param trained the parameters that get a gradient: {@link isGenerator}, or {@link isDecoder} where the tokens stay
 */
export function generatorGraph(
  kind: GeneratorGraph,
  config: VqganConfig,
  batch: number,
  losses: VqganLosses,
  trained: (name: string) => boolean = isGenerator,
): BuiltGraph {
  const graph = new GraphBuilder(`vqgan-generator-${kind}`);
  const scope = new Scope(graph);
  const shape = [batch, 3, config.imageSize, config.imageSize];
  const images = graph.input('images', 'float32', shape);
  const quantized = quantize(scope, config, encodeLatents(scope, config, images));
  const picture = decodeLatents(scope, config, quantized.codes);
  const quantizerLoss = mul(quantized.loss, losses.quantizer);
  const generator = (): string[] => graph.parameters.map((parameter) => parameter.name).filter(trained);
  const statistics: BatchStatistics[] = [];
  if (kind === 'backward') {
    const cotangent = graph.input('cotangent', 'float32', shape);
    outputGradients(graph, [{ value: picture, cotangent }, { value: quantizerLoss }], generator());
    return { graph, specs: scope.specs, statistics };
  }

  const [absolute, squared] = [l1(images, picture), mse(images, picture)];
  let reconstruction = weighted([
    [losses.l1, absolute],
    [losses.mse, squared],
  ]);
  if (losses.perceptual.kind !== 'none') {
    const distance = perceptualDistance(scope.child('perceptual'), losses.perceptual, images, picture);
    graph.output('perceptual', distance);
    reconstruction = add(reconstruction, mul(distance, losses.perceptual.weight));
  }
  const total = add(reconstruction, quantizerLoss);
  graph.output('loss', total);
  if (kind === 'plain') {
    outputGradients(graph, total, generator());
  } else {
    const names = generator();
    const adversarial = hingeGenerator(discriminate(scope, picture, { statistics }));
    const last = graph.parameters.find(({ name }) => name === LAST_WEIGHT)!.value;
    graph.output('adversarial', adversarial);
    if (kind === 'adversarial') {
      const balanced = adaptiveWeight(reconstruction, adversarial, picture, last);
      const { weight, fromReconstruction, fromAdversarial } = balanced;
      const cotangent = add(fromReconstruction, mul(fromAdversarial, mul(weight, losses.adversarial)));
      outputGradients(graph, [{ value: picture, cotangent }, { value: quantizerLoss }], names);
      graph.output('adaptive', weight);
    } else {
      outputBalance(graph, 'reconstruction', reconstruction, picture, last);
      outputBalance(graph, 'adversarial', adversarial, picture, last);
    }
    outputStatistics(graph, statistics, 'fake');
  }
  graph.output('l1', absolute);
  graph.output('mse', squared);
  graph.output('quantizer', quantized.loss);
  graph.output('tokens', quantized.tokens);
  graph.output('rows', quantized.rows);
  graph.output('picture', picture);
  return { graph, specs: scope.specs, statistics };
}

/** Outputs `from_<name>`, the gradient of a loss at the picture, and `last_<name>`, that at the last convolution. */
function outputBalance(graph: GraphBuilder, name: string, loss: Value, picture: Value, last: Value): void {
  const [cotangent] = gradients(loss, [picture]) as [Value];
  const [atLast] = gradients([{ value: picture, cotangent }], [last]) as [Value];
  graph.output(`from_${name}`, cotangent);
  graph.output(`last_${name}`, atLast);
}

/** The discriminator's step: real and fake pictures → hinge loss, gradients, batch statistics. */
export function discriminatorGraph(config: VqganConfig, batch: number): BuiltGraph {
  const graph = new GraphBuilder('vqgan-discriminator-step');
  const scope = new Scope(graph);
  const shape = [batch, 3, config.imageSize, config.imageSize];
  const real: BatchStatistics[] = [];
  const fake: BatchStatistics[] = [];
  const realLogits = discriminate(scope, graph.input('real', 'float32', shape), { statistics: real });
  const fakeLogits = discriminate(scope, graph.input('fake', 'float32', shape), { statistics: fake });
  const loss = hingeDiscriminator(realLogits, fakeLogits);
  outputGradients(
    graph,
    loss,
    graph.parameters.map((parameter) => parameter.name),
  );
  graph.output('loss', loss);
  graph.output('real_logit', reduceMean(realLogits));
  graph.output('fake_logit', reduceMean(fakeLogits));
  outputStatistics(graph, real, 'real');
  outputStatistics(graph, fake, 'fake');
  return { graph, specs: scope.specs, statistics: fake };
}

/** Reconstruction of held-back pictures: images (B, 3, S, S) → picture, of the same shape. */
export function reconstructionGraph(config: VqganConfig, batch: number): BuiltGraph {
  const graph = new GraphBuilder('vqgan-reconstruction');
  const scope = new Scope(graph);
  const images = graph.input('images', 'float32', [batch, 3, config.imageSize, config.imageSize]);
  const quantized = quantize(scope, config, encodeLatents(scope, config, images));
  graph.output('picture', decodeLatents(scope, config, quantized.codes));
  return { graph, specs: scope.specs, statistics: [] };
}

function weighted(terms: readonly (readonly [number, Value])[]): Value {
  const used = terms
    .filter(([weight]) => weight > 0)
    .map(([weight, value]) => (weight === 1 ? value : mul(value, weight)));
  return used.length > 0 ? used.reduce((sum, term) => add(sum, term)) : mul(terms[0]![1], 0);
}

/** Outputs `<which>.<module>.{mean,inverse_std}` for the running averages of BatchNorm. */
function outputStatistics(graph: GraphBuilder, statistics: readonly BatchStatistics[], which: string): void {
  for (const { module, mean, inverseStd } of statistics) {
    graph.output(`${which}.${module}.mean`, mean);
    graph.output(`${which}.${module}.inverse_std`, inverseStd);
  }
}
