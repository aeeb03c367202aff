import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openModelParts, TokenSampler, writeTinyModel } from '@clip-gen/generation';
import { encodeImage } from '@clip-gen/image';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../main.ts';
import { AgreementSums } from './quantize-agreement.ts';
import type { QuantizedModel } from './quantize-model.ts';

let model: string;
let data: string;

beforeAll(async () => {
  model = join(await temporaryFolder(), 'model');
  await writeTinyModel(model, { gptWidth: 32 });
  await writeFile(join(model, 'generation.json'), JSON.stringify({ topK: 5 }));
  data = await temporaryFolder();
  for (let i = 0; i < 3; i++) {
    const pixels = Uint8Array.from({ length: 16 * 16 * 3 }, (_, at) => (at * (i + 3)) % 256);
    const file = await encodeImage({ width: 16, height: 16, data: pixels }, { format: 'png' });
    await writeFile(join(data, `${i}.png`), file);
  }
});
afterEach(() => vi.restoreAllMocks());

async function call(...args: readonly string[]) {
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      text[stream] += String(chunk);
      return true;
    });
  }
  const exitCode = (await main(['quantize', ...args])) ?? 0;
  vi.restoreAllMocks();
  return { exitCode, ...text };
}

describe('clip-gen quantize', () => {
  it.each(['8', '4'])('writes a whole model whose transformer has %s bits, and compares', async (bits) => {
    const out = join(await temporaryFolder(), 'new', 'model');
    const flags = ['--model', model, '--out', out, '--bits', bits, '--data', data, '--pictures', '2', '--json'];
    const { exitCode, stdout, stderr } = await call(...flags);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const done = JSON.parse(stdout) as QuantizedModel;
    expect(done).toMatchObject({ out, bits: Number(bits), matrices: 6 });
    expect(done.agreement).toMatchObject({ pictures: 2, tokens: 32 });
    expect(done.agreement!.divergence).toBeLessThan(bits === '8' ? 1e-3 : 0.1);
    expect(done.agreement!.sameLikeliest).toBeGreaterThan(0.5);

    const parts = await openModelParts(out);
    expect(parts.gpt.quantization).toEqual({ bits: Number(bits), blockSize: bits === '8' ? 128 : 32 });
    expect(parts.defaults).toMatchObject({ topK: 5 });
    const sampler = await TokenSampler.open(parts.gpt, { threads: 1 });
    expect(sampler.cacheType).toBe('int8');
    await sampler.close();
    expect((await readdir(join(out, 'clip'))).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    for (const file of ['vqgan/model.safetensors', 'clip/tokenizer.json']) {
      expect(await readFile(join(out, file))).toEqual(await readFile(join(model, file)));
    }
  });

  it("writes a transformer's own folder, and says what became of it", async () => {
    const out = await temporaryFolder();
    const { exitCode, stdout } = await call('--model', join(model, 'gpt'), '--out', out);
    expect(exitCode).toBe(0);
    expect((await readdir(out)).sort()).toEqual(['cache.safetensors', 'config.json', 'model.safetensors']);
    expect(stdout).toMatch(/: 6 matrices in 8 bits, blocks of 128\n {2}size .* MiB → .* MiB, \d\.\d\d times smaller\n/);
    expect(stdout).toMatch(/weights' error {2}0\.\d\d % of their size; the worst: \S+\.weight, 0\.\d\d %\n$/);

    const again = await call('--model', out, '--out', join(out, 'again'));
    expect(again).toMatchObject({ exitCode: 2, stdout: '' });
    expect(again.stderr).toContain('is quantised already, in 8 bits; name the float32 model');
  });

  it('may write over a quantised transformer, of which nothing stays', async () => {
    const out = await temporaryFolder();
    await writeFile(join(out, 'config.json'), '{ "quantization": {} }');
    for (const file of ['cache', 'support']) await writeFile(join(out, `${file}.safetensors`), 'of another model');
    expect(await call('--model', join(model, 'gpt'), '--out', out)).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await readdir(out)).sort()).toEqual(['cache.safetensors', 'config.json', 'model.safetensors']);
  });

  it('refuses a folder where only other networks lie', async () => {
    const out = await temporaryFolder();
    await mkdir(join(out, 'vqgan'));
    await writeFile(join(out, 'vqgan', 'config.json'), '{}');
    const { exitCode, stderr } = await call('--model', model, '--out', out);
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/--out: .*vqgan holds a model that is not quantised; name another folder, or remove it/);
    expect(await readdir(out)).toEqual(['vqgan']);
  });

  it.each<[string, () => readonly string[], RegExp]>([
    [
      'the model itself',
      () => ['--model', model, '--out', join(model, '.')],
      /--out must be another folder than --model/,
    ],
    [
      'a folder with another model',
      () => ['--model', join(model, 'gpt'), '--out', join(model, 'vqgan')],
      /--out: .*vqgan holds a model that is not quantised; name another folder, or remove it/,
    ],
    ['bits', () => ['--model', model, '--out', 'x', '--bits', '2'], /'2' is invalid.*Allowed choices are 8, 4/],
    ['part', () => ['--model', model, '--out', 'x', '--part', 'clip'], /Allowed choices are gpt/],
    [
      'pictures',
      () => ['--model', model, '--out', 'x', '--data', data, '--pictures', '0'],
      /must be an integer in \[1,/,
    ],
    ['no pictures', () => ['--model', model, '--out', 'x', '--data', join(model, 'gpt')], /gpt holds no pictures/],
    ['no model', () => ['--model', data, '--out', 'x'], /config\.json does not exist/],
    [
      'pictures without their networks',
      () => ['--model', join(model, 'gpt'), '--out', 'x', '--data', data],
      /--data must be left out unless --model has clip\/ and vqgan\/ too/,
    ],
  ])('refuses %s with one line', async (_, args, message) => {
    const { exitCode, stdout, stderr } = await call(...args());
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd()).not.toContain('\n');
    await expect(stat('x')).rejects.toThrow();
  });
});

describe('the comparison of logits', () => {
  it('of a model with itself is perfect', () => {
    const sums = new AgreementSums(4);
    const logits = Float32Array.of(0, 0, 0, 0, 0, 0, Math.log(5), 0);
    sums.add(Int32Array.of(1, 2), logits, logits);
    const { crossEntropy, divergence, sameLikeliest, tokens } = sums.means();
    expect(tokens).toBe(2);
    expect(crossEntropy.original).toBeCloseTo((Math.log(4) + Math.log(8 / 5)) / 2, 6);
    expect(crossEntropy.quantized).toBe(crossEntropy.original);
    expect(divergence).toBeCloseTo(0, 7);
    expect(sameLikeliest).toBe(1);
  });

  it('of two models is the closed form', () => {
    const sums = new AgreementSums(2);
    // (3/4, 1/4) beside (1/4, 3/4), shifted: KL = 1/2 · log 3.
    sums.add(Int32Array.of(0), Float32Array.of(Math.log(3), 0), Float32Array.of(7, 7 + Math.log(3)));
    const { crossEntropy, divergence, sameLikeliest } = sums.means();
    expect(divergence).toBeCloseTo(Math.log(3) / 2, 5);
    expect(crossEntropy.original).toBeCloseTo(Math.log(4 / 3), 6);
    expect(crossEntropy.quantized).toBeCloseTo(Math.log(4), 5);
    expect(sameLikeliest).toBe(0);
  });
});
