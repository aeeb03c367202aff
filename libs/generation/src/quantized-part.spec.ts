import { cp, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeStepGraph, type GptConfig } from '@clip-gen/gpt';
import { linearWeights } from '@clip-gen/graph';
import { initialize } from '@clip-gen/nn';
import { BLOCK_FORMATS, dequantizeMatrix, quantizeWeights, type QuantizedBits } from '@clip-gen/quantization';
import { openSafetensors, readSafetensors, toFloat32, writeSafetensors } from '@clip-gen/safetensors';
import { emptyTensor, tensor, type Tensor } from '@clip-gen/tensor';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { createPartSession } from './model-part.ts';
import { gptParameters, openGptPart } from './model-parts.ts';
import { TokenSampler } from './token-sampler.ts';

const CONFIG: GptConfig = {
  model: 'gpt',
  tokens: 4,
  vocabularySize: 24,
  conditionSize: 16,
  width: 32,
  layers: 2,
  heads: 2,
};
let plain: string;

beforeAll(async () => {
  plain = await temporaryFolder();
  await writePart(plain, CONFIG, initialize(gptParameters(CONFIG), 3));
});

async function writePart(folder: string, config: object, weights: Iterable<readonly [string, Tensor]>) {
  await writeSafetensors(join(folder, 'model.safetensors'), weights);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
}

/** The part in `bits`, in a folder of its own. */
async function quantized(bits: QuantizedBits): Promise<string> {
  const folder = await temporaryFolder();
  const source = await openSafetensors(join(plain, 'model.safetensors'));
  const format = BLOCK_FORMATS[bits];
  const matrices = new Set(linearWeights(decodeStepGraph(CONFIG).graph));
  expect(matrices.size).toBe(2 + 4 * CONFIG.layers);
  await quantizeWeights(source, join(folder, 'model.safetensors'), { format, matrices });
  await source.close();
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...CONFIG, quantization: format }));
  return folder;
}

/** Logits of two rows at their first position. */
async function firstLogits(folder: string): Promise<Float32Array> {
  const part = await openGptPart(folder);
  const session = await createPartSession(part, decodeStepGraph(CONFIG).graph, { threads: 1 });
  const condition = Float32Array.from({ length: 32 }, (_, i) => Math.sin(i * i) / 3);
  const feeds: Record<string, Tensor> = {
    condition: tensor('float32', [2, 16], condition),
    token: emptyTensor('int32', [2]),
    position: emptyTensor('int32', [2]),
    total: tensor('int32', [1], Int32Array.of(1)),
  };
  for (const { name } of session.inputs)
    if (name.startsWith('past.')) feeds[name] = emptyTensor('float32', [2, 2, 4, 16]);
  const { logits } = await session.run(feeds);
  await session.close();
  return logits!.data as Float32Array;
}

describe.each([8, 4] as const)('a transformer in %d bits', (bits) => {
  it('predicts what the numbers given back predict', async () => {
    const folder = await quantized(bits);
    const stored = await readSafetensors(join(folder, 'model.safetensors'));
    const format = BLOCK_FORMATS[bits];
    const back = gptParameters(CONFIG).map(({ name, shape }): readonly [string, Tensor] => {
      const kept = stored.get(name);
      if (kept) return [name, toFloat32(kept)];
      const [rows, columns] = shape as [number, number];
      const packed = stored.get(`${name}.packed`)!.data as Uint8Array;
      const scales = stored.get(`${name}.scales`)!.data as Float32Array;
      return [name, tensor('float32', shape, dequantizeMatrix({ rows, columns, format, packed, scales }).data)];
    });
    const wide = await temporaryFolder();
    await writePart(wide, CONFIG, back);
    const [reference, own] = [await firstLogits(wide), await firstLogits(folder)];
    const largest = reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // Two layers whose activations are rounded to 8 bits in each block.
    own.forEach((value, i) => expect(Math.abs(value - reference[i]!)).toBeLessThan(0.02 * largest));
    expect(own).not.toEqual(reference);
  });

  it('gives a candidate the tokens that it has alone', async () => {
    const sampler = await TokenSampler.open(await openGptPart(await quantized(bits)), { threads: 1 });
    const draw = async (candidates: number): Promise<string[]> => {
      const drawn: string[] = [];
      const request = { seed: 1, candidates, temperature: 1 };
      for await (const { candidate, position, token } of sampler.sample(new Float32Array(16).fill(0.25), request)) {
        if (candidate === 0) drawn.push(`${position}: ${token}`);
      }
      return drawn;
    };
    const alone = await draw(1);
    expect(alone).toHaveLength(4);
    for (const candidates of [2, 3]) expect(await draw(candidates)).toEqual(alone);
    await sampler.close();
  });
});

describe('a damaged folder', () => {
  /** A copy of the 8-bit part with another configuration or other weights. */
  async function changed(quantization: unknown, edit?: (weights: Map<string, Tensor>) => void): Promise<string> {
    const folder = join(await temporaryFolder(), 'part');
    await cp(await quantized(8), folder, { recursive: true });
    const weights = await readSafetensors(join(folder, 'model.safetensors'));
    edit?.(weights);
    await writePart(folder, { ...CONFIG, quantization }, weights);
    return folder;
  }
  const name = 'head.weight';

  it.each<[unknown, string, string]>([
    [undefined, 'failed_precondition', 'has unexpected'],
    [{ bits: 4, blockSize: 32 }, 'failed_precondition', 'packed must be uint8 [32, 1, 16], is uint8 [32, 1, 128]'],
    [{ bits: 8, blockSize: 64 }, 'failed_precondition', 'packed must be uint8 [32, 1, 64], is uint8 [32, 1, 128]'],
    [{ bits: 2, blockSize: 32 }, 'data_corrupt', 'quantization.bits'],
    [{ bits: 8, blockSize: 100 }, 'data_corrupt', 'quantization.blockSize'],
    ['int8', 'data_corrupt', 'quantization'],
  ])('with quantization %j is refused', async (quantization, code, message) => {
    const opening = openGptPart(await changed(quantization));
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it.each<[string, (weights: Map<string, Tensor>) => void, string]>([
    ['without integers', (weights) => weights.delete(`${name}.packed`), `lacks ${name}; has unexpected ${name}.scales`],
    ['without scales', (weights) => weights.delete(`${name}.scales`), `lacks ${name}.scales`],
    ['with both forms', (weights) => weights.set(name, emptyTensor('float32', [24, 32])), 'has unexpected'],
    [
      'with scales of another type',
      (weights) => weights.set(`${name}.scales`, emptyTensor('int32', [24, 1])),
      `${name}.scales must be float32 [24, 1], is int32 [24, 1]`,
    ],
    [
      'with too few blocks',
      (weights) => weights.set(`${name}.packed`, emptyTensor('uint8', [24, 2, 64])),
      `${name}.packed must be uint8 [24, 1, 128], is uint8 [24, 2, 64]`,
    ],
    [
      'with a table in blocks',
      (weights) => {
        weights.delete('tok_emb.weight');
        weights.set('tok_emb.weight.packed', emptyTensor('uint8', [24, 1, 128]));
        weights.set('tok_emb.weight.scales', emptyTensor('float32', [24, 1]));
      },
      'Gather reads it',
    ],
  ])('%s is refused', async (_, edit, message) => {
    const folder = await changed(BLOCK_FORMATS[8], edit);
    const opening = openGptPart(folder).then((part) => TokenSampler.open(part, { threads: 1 }));
    await expect(opening).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(message),
    });
  });

  it('that is cut short is refused', async () => {
    const folder = await changed(BLOCK_FORMATS[8]);
    const path = join(folder, 'model.safetensors');
    await truncate(path, (await readFile(path)).length - 1);
    await expect(openGptPart(folder)).rejects.toMatchObject({ code: 'data_corrupt' });
  });
});
