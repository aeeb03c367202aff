import { readFile } from 'node:fs/promises';
import { GraphBuilder } from '@clip-gen/graph';
import { Scope } from '@clip-gen/nn';
import { expect, it } from 'vitest';
import { gridSide, VQGAN_PRESETS, vqganConfigSchema } from './config.ts';
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
  const { error } = vqganConfigSchema.safeParse({ ...VQGAN_PRESETS['vqgan-f8-1024'], ...change });
  expect(error?.issues).toMatchObject([{ path: [field], message }]);
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
