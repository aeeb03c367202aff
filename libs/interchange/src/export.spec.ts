import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeRandomModel, type ModelConfigs } from '@clip-gen/generation';
import { createSession } from '@clip-gen/runtime';
import { readSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';
import { expectTensor, temporaryFolder } from '@clip-gen/testing';
import { openTorchCheckpoint, stateDict } from '@clip-gen/torch-checkpoint';
import { beforeAll, expect, it } from 'vitest';
import { exportOnnx } from './export-onnx.ts';
import { exportTorch } from './export-torch.ts';
import { EXPORTED_GRAPHS, type ExportedGraph } from './exported-graphs.ts';
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
type Part = keyof ModelConfigs;

let folder: string;
const model = (dtype: string): string => join(folder, dtype);
beforeAll(async () => {
  folder = await temporaryFolder();
  for (const dtype of ['float32', 'float16'] as const) await writeRandomModel(model(dtype), CONFIGS, { dtype });
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
const FEEDS: Readonly<Partial<Record<ExportedGraph, () => Record<string, Tensor>>>> = {
  image: () => ({ pixels: ones([2, 3, 8, 8]) }),
  text: () => ({ tokens: ids([2, 8]) }),
  decoder: () => ({ tokens: ids([2, 4]) }),
  encoder: () => ({ pixels: ones([2, 3, 8, 8]) }),
  logits: () => ({ condition: ones([2, 8]), previous: ids([2, 3]) }),
};

it.each(Object.entries(FEEDS))('%s.onnx computes the same with its weights inside and beside', async (name, feeds) => {
  const graph = name as ExportedGraph;
  const part = Object.entries(EXPORTED_GRAPHS).find(([, graphs]) => (graphs as readonly string[]).includes(name))![0];
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
  await expect(openModelFolder(other)).rejects.toMatchObject({ code: 'not_found' });
  await writeFile(join(other, 'config.json'), '{"model": "bert"}');
  await expect(openModelFolder(other)).rejects.toThrow('model must be "clip", "vqgan" or "gpt"; got "bert"');
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
])('%s goes to PyTorch and back without a change', async (part, entry) => {
  for (const dtype of ['float32', 'float16']) {
    const source = join(model(dtype), part);
    const path = join(folder, `${part}-${dtype}.pt`);
    const opened = await openModelFolder(source);
    const report = await exportTorch(opened, path);
    await opened.weights.close();
    expect(report.entry).toBe(entry);
    expect(report.notes.length).toBe({ clip: 1, vqgan: 3, gpt: 0 }[part]);
    const out = join(folder, `${part}-${dtype}-back`);
    const { config } = await importCheckpoint(part, path, out, { config: join(source, 'config.json') });
    expect(config).toEqual(CONFIGS[part]);
    expect(await readSafetensors(join(out, 'model.safetensors'))).toEqual(
      await readSafetensors(join(source, 'model.safetensors')),
    );
    await expect(importCheckpoint(part, path, out)).rejects.toThrow('holds a model already');
  }
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
