import { GraphBuilder } from '@clip-gen/graph';
import { initialize, Scope } from '@clip-gen/nn';
import { RandomStream } from '@clip-gen/rng';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectClose, runGraph } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { VqganConfig } from './config.ts';
import { encodeLatents } from './encoder.ts';
import { latentRows } from './quantizer.ts';

const SIDE = 16;
const PATCH = 4;
const GRID = SIDE / PATCH;
const CODE = 8;
const CONFIG: VqganConfig = {
  model: 'vqgan',
  imageSize: SIDE,
  patchSize: 2,
  channels: 8,
  multipliers: [1, 1],
  blocks: 1,
  attentionSides: [],
  groups: 4,
  codebookSize: 16,
  codeSize: CODE,
  patchEncoder: { width: 12, blocks: 2 },
};

/** A patch of 3 × 4 × 4 pixels. */
type Patch = Float32Array;
const draw = (seed: number): Patch => {
  const random = new RandomStream(seed);
  return Float32Array.from({ length: 3 * PATCH * PATCH }, () => 2 * random.uniform() - 1);
};

/** Pictures (B, 3, 16, 16) of 16 patches each, row by row. */
function pictures(patches: readonly Patch[]): Tensor {
  const batch = patches.length / (GRID * GRID);
  const data = Float32Array.from({ length: batch * 3 * SIDE * SIDE }, (_, at) => {
    const [x, y] = [at % SIDE, Math.floor(at / SIDE) % SIDE];
    const channel = Math.floor(at / SIDE ** 2) % 3;
    const image = Math.floor(at / (3 * SIDE ** 2));
    const patch = patches[image * GRID * GRID + Math.floor(y / PATCH) * GRID + Math.floor(x / PATCH)]!;
    return patch[(channel * PATCH + (y % PATCH)) * PATCH + (x % PATCH)]!;
  });
  return tensor('float32', [batch, 3, SIDE, SIDE], data);
}

/** A latent for each patch, in the order of the patches. */
async function latents(config: VqganConfig, patches: readonly Patch[]): Promise<Float32Array[]> {
  const graph = new GraphBuilder('encode');
  const scope = new Scope(graph);
  const input = pictures(patches);
  const image = graph.input('image', 'float32', input.shape);
  graph.output('rows', latentRows(encodeLatents(scope, config, image)));
  const { rows } = await runGraph(graph, { ...Object.fromEntries(initialize(scope.specs, 1)), image: input });
  const data = rows!.data as Float32Array;
  return patches.map((_, i) => data.subarray(i * CODE, (i + 1) * CODE));
}

const others = Array.from({ length: 2 * GRID * GRID }, (_, i) => draw(i));
const PLACES = [0, 6, 15, 17, 25]; // corner, middle, corner; edge and middle of the second picture

describe('the patch encoder', () => {
  const same = draw(1000);
  const repeated = others.map((patch, i) => (PLACES.includes(i) ? same : patch));
  let found: Float32Array[];
  beforeAll(async () => {
    found = await latents(CONFIG, repeated);
  });

  it('gives equal patches equal latents wherever they lie and whatever is around them', () => {
    for (const place of PLACES) expectClose(found[place]!, found[0]!, { relative: 1e-6, scale: 'max' });
    const distances = found.map((latent) => Math.hypot(...latent.map((value, i) => value - found[0]![i]!)));
    expect(distances.flatMap((distance, i) => (distance < 0.01 ? [i] : []))).toEqual(PLACES);
  });

  it.each([0, 5, 19])('lets a change of patch %i change its own latent and no other', async (place) => {
    const changed = await latents(
      CONFIG,
      repeated.map((patch, i) => (i === place ? draw(2000) : patch)),
    );
    expect(changed.flatMap((latent, i) => (latent.some((value, at) => value !== found[i]![at]) ? [i] : []))).toEqual([
      place,
    ]);
  });
});

it('the convolutional encoder tells of the whole picture in every latent', async () => {
  const { patchEncoder: _, ...config } = CONFIG;
  const before = await latents(config, others);
  const after = await latents(
    config,
    others.map((patch, i) => (i === 0 ? draw(2000) : patch)),
  );
  const changed = after.flatMap((latent, i) => (latent.some((value, at) => value !== before[i]![at]) ? [i] : []));
  expect(changed).toEqual(Array.from({ length: GRID * GRID }, (_, i) => i)); // of the first picture, all
});
