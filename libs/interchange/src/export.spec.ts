import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeRandomModel, type ModelConfigs } from '@clip-gen/generation';
import { createSession } from '@clip-gen/runtime';
import { readSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, temporaryFolder } from '@clip-gen/testing';
import type { PreviewConfig } from '@clip-gen/vqgan';
import { openTorchCheckpoint, stateDict } from '@clip-gen/torch-checkpoint';
import { beforeAll, expect, it } from 'vitest';
import { exportOnnx } from './export-onnx.ts';
import { exportTorch } from './export-torch.ts';
import type { ExportedGraph } from './exported-graphs.ts';
import { importCheckpoint } from './import-checkpoint.ts';
import { openModelFolder } from './model-folder.ts';

const CONFIGS: ModelConfigs = {
  clip: {
    model: 'clip',
    embeddingSize: 8,
    vision: { imageSize: 8, patchSize: 4, width: 16, layers: 1, heads: 2 },
    text: { contextLength: 8, vocabularySize: 30, width: 16, layers: 1, heads: 2 },
    activation: 'gelu',
  },
  vqgan: {
    model: 'vqgan',
    imageSize: 8,
    patchSize: 2,
    channels: 8,
    multipliers: [1, 2],
    blocks: 1,
    attentionSides: [2],
    groups: 4,
    codebookSize: 12,
    codeSize: 4,
    latentSize: 6,
    codeChoice: 'projection',
  },
  gpt: { model: 'gpt', tokens: 4, vocabularySize: 12, conditionSize: 8, width: 16, layers: 2, heads: 2 },
};
const PREVIEW: PreviewConfig = {
  model: 'preview',
  gridSize: 2,
  codebookSize: 12,
  codeSize: 4,
  channels: [6, 5],
  blocks: [1, 0],
  patchSize: 2,
};
type Part = keyof ModelConfigs | 'preview';
const configOf = (part: Part): object => (part === 'preview' ? PREVIEW : CONFIGS[part]);

let folder: string;
const model = (dtype: string): string => join(folder, dtype);
beforeAll(async () => {
  folder = await temporaryFolder();
  for (const dtype of ['float32', 'float16'] as const) {
    await writeRandomModel(model(dtype), CONFIGS, { dtype, preview: PREVIEW });
  }
});

async function runOnnx(path: string, feeds: Record<string, Tensor>): Promise<Tensor> {
  const session = await createSession(await readFile(path), { threads: 1, externalDataFolder: folder });
  try {
    return Object.values(await session.run(feeds))[0]!;
  } finally {
    await session.close();
  }
}

const ones = (shape: number[]): Tensor =>
  tensor('float32', shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5));
const ids = (shape: number[]): Tensor => {
  const count = shape.reduce((a, b) => a * b);
  return tensor(
    'int64',
    shape,
    BigInt64Array.from({ length: count }, (_, i) => BigInt((5 * i) % 12)),
  );
};
const FEEDS: readonly [Part, ExportedGraph, () => Record<string, Tensor>][] = [
  ['clip', 'image', () => ({ pixels: ones([2, 3, 8, 8]) })],
  ['clip', 'text', () => ({ tokens: ids([2, 8]) })],
  ['vqgan', 'decoder', () => ({ tokens: ids([2, 4]) })],
  ['vqgan', 'encoder', () => ({ pixels: ones([2, 3, 8, 8]) })],
  ['gpt', 'logits', () => ({ condition: ones([2, 8]), previous: ids([2, 3]) })],
  ['preview', 'decoder', () => ({ tokens: ids([2, 4]) })],
];

it.each(FEEDS)('%s: %s.onnx computes the same with its weights inside and beside', async (part, graph, feeds) => {
  const name = `${part}-${graph}`;
  for (const dtype of ['float32', 'float16']) {
    const opened = await openModelFolder(join(model(dtype), part));
    const inside = join(folder, `${name}-${dtype}.onnx`);
    const beside = join(folder, `${name}-${dtype}-external.onnx`);
    expect((await exportOnnx(opened, inside, { graph })).files).toEqual([inside]);
    const { files } = await exportOnnx(opened, beside, { graph, external: true });
    expect(files).toEqual([beside, `${beside}.data`]);
    await opened.weights.close();
    const whole = await runOnnx(inside, feeds());
    expect(whole.data.length).toBeGreaterThan(0);
    expectTensor(name, await runOnnx(beside, feeds()), whole, { absolute: 0 });
  }
  expect((await readdir(folder)).filter((file) => file.endsWith('.tmp'))).toEqual([]);
});

it('step.onnx has the cache as inputs and outputs', async () => {
  const opened = await openModelFolder(join(model('float32'), 'gpt'));
  const path = join(folder, 'step.onnx');
  await exportOnnx(opened, path, { graph: 'step' });
  await opened.weights.close();
  const session = await createSession(await readFile(path), { threads: 1 });
  await session.close();
  expect((await readFile(path)).includes('present.')).toBe(true);
});

it('refuses a graph of another network and a folder that is no model', async () => {
  const opened = await openModelFolder(join(model('float32'), 'gpt'));
  await expect(exportOnnx(opened, join(folder, 'x.onnx'), { graph: 'image' })).rejects.toThrow(
    '--graph must be logits or step for a gpt; got "image"',
  );
  await opened.weights.close();
  const other = join(folder, 'other');
  await mkdir(other);
  await expect(openModelFolder(other)).rejects.toMatchObject({
    code: 'not_found',
    message: `${join(other, 'config.json')} does not exist; name a folder with config.json and model.safetensors, such as my-model/vqgan`,
  });
  await writeFile(join(other, 'config.json'), '{"model": "bert"}');
  await expect(openModelFolder(other)).rejects.toThrow('model must be "clip", "vqgan", "gpt" or "preview"; got "bert"');
});

it('says of a quantised folder what to export instead', async () => {
  const path = join(folder, 'quantised');
  await mkdir(path);
  const config = { ...CONFIGS.gpt, quantization: { bits: 8, blockSize: 128 } };
  await writeFile(join(path, 'config.json'), JSON.stringify(config));
  await expect(openModelFolder(path)).rejects.toMatchObject({
    code: 'failed_precondition',
    message: `${path}: the weights are quantised, and no other format holds such weights; export the folder that it was made from`,
  });
});

it.each<[Part, string | undefined]>([
  ['clip', undefined],
  ['vqgan', 'model'],
  ['gpt', 'model'],
  ['preview', 'model'],
])('%s goes to PyTorch and back without a change', async (part, entry) => {
  for (const dtype of ['float32', 'float16']) {
    const source = join(model(dtype), part);
    const path = join(folder, `${part}-${dtype}.pt`);
    const opened = await openModelFolder(source);
    const report = await exportTorch(opened, path);
    await opened.weights.close();
    expect(report.entry).toBe(entry);
    expect(report.notes.length).toBe({ clip: 1, vqgan: 3, gpt: 0, preview: 0 }[part]);
    const out = join(folder, `${part}-${dtype}-back`);
    const { config } = await importCheckpoint(part, path, out, { config: join(source, 'config.json') });
    expect(config).toEqual(configOf(part));
    expect(await readSafetensors(join(out, 'model.safetensors'))).toEqual(
      await readSafetensors(join(source, 'model.safetensors')),
    );
    await expect(importCheckpoint(part, path, out)).rejects.toThrow('holds a model already');
    const file = join(source, 'config.json');
    await expect(importCheckpoint(part, path, file, { config: file })).rejects.toThrow(
      `the folder ${file} cannot be made: a file of that name is there; name another`,
    );
  }
});

it("tells a preview decoder's sizes from its weights and the pictures' side", async () => {
  const checkpoint = join(folder, 'preview-float32.pt');
  const { config, notes } = await importCheckpoint('preview', checkpoint, join(folder, 'preview-told'), {
    imageSize: 8,
  });
  expect({ config, notes }).toEqual({ config: PREVIEW, notes: [] });
  const untold = await importCheckpoint('preview', checkpoint, join(folder, 'preview-untold'));
  expect(untold.config).toEqual({ ...PREVIEW, gridSize: 64 });
  expect(untold.notes).toEqual(['pictures: 256x256; --image-size says otherwise']);
  const refused = (file: string, options: object): Promise<unknown> =>
    importCheckpoint('preview', join(folder, file), join(folder, 'preview-refused'), options);
  await expect(refused('preview-float32.pt', { imageSize: 10 })).rejects.toThrow(
    "--image-size must be a multiple of 4, the side of a token's pixels; got 10",
  );
  await expect(refused('vqgan-float32.pt', {})).rejects.toThrow("is no preview decoder of clip-gen's");
});

it('names the networks of a whole model', async () => {
  const whole = model('float32');
  const parts = ['clip', 'vqgan', 'gpt', 'preview'].map((part) => join(whole, part)).join(', ');
  await expect(openModelFolder(whole)).rejects.toMatchObject({
    code: 'not_found',
    message: `${whole} holds several networks; name one of them: ${parts}`,
  });
  // A configuration of its own that cannot be read is told as such.
  const broken = join(folder, 'broken');
  await mkdir(join(broken, 'gpt'), { recursive: true });
  for (const at of ['config.json', join('gpt', 'config.json')]) await writeFile(join(broken, at), '{');
  await expect(openModelFolder(broken)).rejects.toThrow(new RegExp(`^${join(broken, 'config.json')} `));
});

it("gives the GPT its masks, which the reference's classes ask for", async () => {
  const checkpoint = await openTorchCheckpoint(join(folder, 'gpt-float32.pt'));
  const { tensors } = stateDict(checkpoint.root, 'gpt.pt');
  const mask = await checkpoint.read(tensors.get('blocks.1.mask')!);
  await checkpoint.close();
  expect(mask).toEqual(tensor('bool', [4, 4], Uint8Array.of(0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0)));
});

it('imports what was exported, as float16 on request', async () => {
  const out = join(folder, 'gpt-half');
  const report = await importCheckpoint('gpt', join(folder, 'gpt-float32.pt'), out, { dtype: 'float16', heads: 2 });
  expect(report).toMatchObject({ format: 'zip', ignored: ['blocks.0.mask', 'blocks.1.mask'], unknown: [], notes: [] });
  const types = new Set(
    [...(await readSafetensors(join(out, 'model.safetensors'))).values()].map(({ dtype }) => dtype),
  );
  expect([...types]).toEqual(['float16']);
  expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8'))).toEqual(CONFIGS.gpt);
});
