import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGptPart, openVqganPart } from '@clip-gen/generation';
import { temporaryFolder } from '@clip-gen/testing';
import { afterEach, expect, it, vi } from 'vitest';
import { main } from '../main.ts';

const golden = (name: string): string =>
  fileURLToPath(new URL(`../../../../tools/goldens/checkpoints/${name}`, import.meta.url));

afterEach(() => vi.restoreAllMocks());

async function call(...args: readonly string[]) {
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      text[stream] += String(chunk);
      return true;
    });
  }
  const exitCode = (await main(args)) ?? 0;
  vi.restoreAllMocks();
  return { exitCode, ...text };
}

it('imports a checkpoint to a folder that opens as a model, and exports it', async () => {
  const folder = await temporaryFolder();
  const gpt = join(folder, 'gpt');
  const imported = await call('import', 'gpt', golden('gpt-clip-gen.pt'), '--heads', '4', '--out', gpt);
  expect(imported).toMatchObject({ exitCode: 0, stderr: '' });
  expect(imported.stdout).toBe(
    `${gpt}: transformer in clip-gen's names (zip), 32 tensors, 0.1 MiB\n  not needed: blocks.0.mask, blocks.1.mask\n`,
  );
  expect((await openGptPart(gpt)).config).toMatchObject({ width: 32, heads: 4, layers: 2 });

  const torch = await call('export', gpt, '--out', join(folder, 'gpt.pt'));
  expect(torch.stdout).toBe(`${join(folder, 'gpt.pt')}: a state dict under "model", 34 tensors, 0.1 MiB\n`);
  const onnx = join(folder, 'gpt.onnx');
  const exported = await call('export', gpt, '--out', onnx, '--graph', 'step', '--external');
  expect(exported.stdout).toBe(`${onnx}, ${onnx}.data: gpt-decode-step, 0.1 MiB\n`);
  expect((await readFile(`${onnx}.data`)).length).toBeGreaterThan(100_000);
});

it('exports a preview decoder and imports it again', async () => {
  const folder = await temporaryFolder();
  const [first, second] = [join(folder, 'first'), join(folder, 'second')];
  const size = ['--image-size', '12'];
  await call('import', 'preview', golden('preview-clip-gen.pt'), ...size, '--out', first);
  const onnx = await call('export', first, '--out', join(folder, 'preview.onnx'));
  expect(onnx.stdout).toBe(`${join(folder, 'preview.onnx')}: preview-decoder, 0.0 MiB\n`);
  const torch = join(folder, 'preview.pt');
  expect((await call('export', first, '--out', torch)).stdout).toContain('a state dict under "model", 15 tensors');
  expect(await call('import', 'preview', torch, ...size, '--out', second)).toMatchObject({ exitCode: 0, stderr: '' });
  for (const name of ['config.json', 'model.safetensors']) {
    expect(await readFile(join(second, name))).toEqual(await readFile(join(first, name)));
  }
});

it("imports a VQGAN of taming's with clip-gen's own configuration, and prints JSON", async () => {
  const out = join(await temporaryFolder(), 'vqgan');
  const flags = ['--config', golden('vqgan-taming.json'), '--out', out, '--json'];
  const { stdout } = await call('import', 'vqgan', golden('vqgan-taming.ckpt'), ...flags);
  expect(JSON.parse(stdout)).toMatchObject({
    layout: "VQGAN in taming-transformers' names",
    ignored: ['loss.logvar', 'loss.perceptual_loss.scaling_layer.shift'],
    unknown: [],
  });
  expect((await openVqganPart(out)).entries.has('discriminator.head.bias')).toBe(true);
});

it.each([
  [['import', 'gpt', golden('vqgan-taming.ckpt')], /is no transformer of clip-gen's/],
  [['import', 'gpt', golden('missing.pt')], /missing\.pt does not exist/],
  [
    ['import', 'bert', golden('gpt-clip-gen.pt')],
    /'bert' is invalid .*Allowed choices are clip, vqgan, gpt, preview, lpips/,
  ],
  [['import', 'gpt', golden('gpt-clip-gen.pt'), '--heads', '0'], /must be an integer in \[1, 256\]/],
  [['export', '.'], /config\.json does not exist/],
])('%j ends with 2 and one line', async (args, message) => {
  const out = join(await temporaryFolder(), 'out.onnx');
  const { exitCode, stdout, stderr } = await call(...args, '--out', out);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toMatch(message);
  expect(stderr.trimEnd()).not.toContain('\n');
});

it.each([
  [['--out', 'x.bin'], /--out must be a \.onnx, \.pt or \.pth file; got "x\.bin"/],
  [['--out', 'x.pt', '--external'], /--out must be a \.onnx file for --graph and --external; got "x\.pt"/],
])('export %j is refused', async (flags, message) => {
  const { exitCode, stderr } = await call('export', 'nowhere', ...flags);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(message);
});
