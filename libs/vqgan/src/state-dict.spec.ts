import { readFile } from 'node:fs/promises';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { expect, it } from 'vitest';
import { gridSide, VQGAN_PRESETS, vqganConfigSchema, type VqganConfig } from './config.ts';
import { decodeLatents } from './decoder.ts';
import { discriminate } from './discriminator.ts';
import { encodeLatents } from './encoder.ts';
import { latentRows, lookUp, nearestCodes } from './quantizer.ts';

it('vqgan-f16-16384 has the parameters of the published checkpoint, by name and shape', async () => {
  const golden = JSON.parse(await readFile(new URL('../goldens/state-dict.json', import.meta.url), 'utf8')) as {
    readonly parameters: Readonly<Record<string, readonly number[]>>;
    readonly buffers: Readonly<Record<string, readonly number[]>>;
  };
  const config = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f16-16384']);
  const graph = new GraphBuilder('vqgan');
  const scope = new Scope(graph);
  const pixels = graph.input('pixels', 'float32', [2, 3, 256, 256]);
  const tokens = nearestCodes(scope, config, latentRows(encodeLatents(scope, config, pixels)));
  expect(tokens.shape).toEqual([2 * 16 * 16]);
  const given = graph.input('tokens', 'int64', [2, 256]);
  const pictures = decodeLatents(scope, config, lookUp(scope, config, given, gridSide(config)));
  expect(pictures.shape).toEqual([2, 3, 256, 256]);
  expect(discriminate(scope, pixels).shape).toEqual([2, 1, 30, 30]);

  expect(Object.fromEntries(graph.parameters.map(({ name, value }) => [name, value.shape]))).toEqual(golden.parameters);
  // what a checkpoint holds besides: the discriminator's running statistics
  const statistics = [3, 6, 9].flatMap((i) =>
    ['running_mean', 'running_var', 'num_batches_tracked'].map((name) => `discriminator.features.${i}.${name}`),
  );
  expect(Object.keys(golden.buffers)).toEqual(statistics);
});

it.each(Object.entries(VQGAN_PRESETS))('%s is a valid configuration', (_name, preset) => {
  expect(vqganConfigSchema.parse(preset)).toEqual(preset);
  for (const multiplier of preset.multipliers) expect((preset.channels * multiplier) % preset.groups).toBe(0);
  expect(Number.isInteger(gridSide(vqganConfigSchema.parse(preset)))).toBe(true);
});

it.each([
  [{ imageSize: 36 }, 'imageSize', 'must be a multiple of patchSize · 2^(levels−1) (8)'],
  [{ groups: 3 }, 'groups', 'must divide channels · 1 (32)'],
  [{ channels: 12, multipliers: [2, 4], groups: 8 }, 'groups', 'must divide channels · 1 (12)'],
])('refuses sizes that do not divide: %j', (change, field, message) => {
  const { error } = vqganConfigSchema.safeParse({ ...VQGAN_PRESETS['vqgan-f8-2048'], ...change });
  expect(error?.issues).toMatchObject([{ path: [field], message }]);
});

const { patchEncoder } = VQGAN_PRESETS['vqgan-f8-2048'];

it.each([
  [{ patchEncoder: { width: 0, blocks: 2 } }, ['patchEncoder', 'width'], 'Too small: expected number to be >=1'],
  [{ patchEncoder: { width: 4097, blocks: 2 } }, ['patchEncoder', 'width'], 'Too big: expected number to be <=4096'],
  [{ patchEncoder: { width: 8, blocks: 0 } }, ['patchEncoder', 'blocks'], 'Too small: expected number to be >=1'],
  [{ patchEncoder: { width: 8, blocks: 17 } }, ['patchEncoder', 'blocks'], 'Too big: expected number to be <=16'],
  [{ patchEncoder: { width: 8, blocks: 1.5 } }, ['patchEncoder', 'blocks'], 'Invalid input: expected int'],
  [{ patchEncoder: { width: 8 } }, ['patchEncoder', 'blocks'], 'Invalid input: expected number, received undefined'],
  [{ patchEncoder: { ...patchEncoder, depth: 2 } }, ['patchEncoder'], 'Unrecognized key: "depth"'],
  [{ patchEncoder: true }, ['patchEncoder'], 'Invalid input: expected object, received boolean'],
  [{ patchEncoder: null }, ['patchEncoder'], 'Invalid input: expected object, received null'],
  [{ patchEncoder, imageSize: 36 }, ['imageSize'], 'must be a multiple of patchSize · 2^(levels−1) (8)'],
])('refuses a patch encoder: %j', (change, path, message) => {
  const { error } = vqganConfigSchema.safeParse({ ...VQGAN_PRESETS['vqgan-f8-2048'], ...change });
  expect(error?.issues[0]).toMatchObject({ path, message: expect.stringContaining(message) });
});

it('vqgan-f8-2048 has an encoder of patches, and the decoder that it has without', () => {
  const shapes = (config: VqganConfig): Map<string, readonly (number | string)[]> => {
    const graph = new GraphBuilder('vqgan');
    const scope = new Scope(graph);
    const latents = encodeLatents(scope, config, graph.input('pixels', 'float32', ['B', 3, 64, 64]));
    expect(latents.shape).toEqual(['B', 32, 8, 8]);
    decodeLatents(scope, config, latents);
    return new Map(graph.parameters.map(({ name, value }) => [name, value.shape]));
  };
  const config = vqganConfigSchema.parse(VQGAN_PRESETS['vqgan-f8-2048']);
  const { patchEncoder: _, ...convolutional } = config;
  const ours = shapes(config);
  const block = (i: number): readonly (readonly [string, readonly number[]])[] => [
    [`encoder.blocks.${i}.norm.weight`, [192]],
    [`encoder.blocks.${i}.norm.bias`, [192]],
    [`encoder.blocks.${i}.fc1.weight`, [768, 192]],
    [`encoder.blocks.${i}.fc1.bias`, [768]],
    [`encoder.blocks.${i}.fc2.weight`, [192, 768]],
    [`encoder.blocks.${i}.fc2.bias`, [192]],
  ];
  const decoder = (all: typeof ours): typeof ours => new Map([...all].filter(([name]) => name.startsWith('decoder.')));
  expect(new Map([...ours].filter(([name]) => name.startsWith('encoder.')))).toEqual(
    new Map([
      ['encoder.conv_in.weight', [192, 3, 8, 8]],
      ['encoder.conv_in.bias', [192]],
      ...block(0),
      ...block(1),
      ['encoder.final.0.weight', [192]],
      ['encoder.final.0.bias', [192]],
      ['encoder.final.1.weight', [32, 192]],
      ['encoder.final.1.bias', [32]],
    ]),
  );
  expect(decoder(ours)).toEqual(decoder(shapes(convolutional)));
});

it.each([0, 1, 2, 3])('a discriminator of %i layers names the side that it needs, and takes it', (layers) => {
  const judge = (side: number): unknown => {
    const graph = new GraphBuilder('sizes');
    const pixels = graph.input('pixels', 'float32', [2, 3, side, side]);
    return discriminate(new Scope(graph), pixels, { layers, channels: 2 }).shape;
  };
  const side = [4, 6, 12, 24][layers]!;
  expect(judge(side)).toEqual([2, 1, 1, 1]);
  expect(() => judge(side - 1)).toThrow(
    `pixels must be ${side}x${side} or larger for ${layers} discriminator layers; got "${side - 1}x${side - 1}"`,
  );
});
