/**
 * Packs a trained model for shipping: `node --import tsx tools/pack-model.ts FROM TO`.
 *
 * Copies the configurations and tokenizer of clip/, vqgan/, gpt/ and, where it is there, preview/, and their weights in
 * half precision; leaves out what only training needs (the discriminator). Quantised weights stay as they are. The GPT's
 * support memory, the steps of its cache and `generation.json`, how the model draws by default, come along where there
 * are some.
 */
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE_FILE, SUPPORT_FILE } from '@clip-gen/generation';
import { readSafetensors, toFloat16, writeSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  console.error('usage: node --import tsx tools/pack-model.ts FROM TO   (e.g. runs/emoji models/emoji)');
  process.exit(2);
}

const copyWhereThere = async (file: string): Promise<void> => {
  if (await stat(join(from, file)).catch(() => undefined)) await copyFile(join(from, file), join(to, file));
};

let total = 0;
for (const part of ['clip', 'vqgan', 'gpt', 'preview']) {
  if (part === 'preview' && !(await stat(join(from, part)).catch(() => undefined))) continue;
  await mkdir(join(to, part), { recursive: true });
  const weights = await readSafetensors(join(from, part, 'model.safetensors'));
  const kept: [string, Tensor][] = [];
  for (const [name, tensor] of weights) {
    if (name.startsWith('discriminator.')) continue;
    kept.push([name, tensor.dtype === 'float32' && !name.endsWith('.scales') ? toFloat16(tensor) : tensor]);
  }
  const path = join(to, part, 'model.safetensors');
  await writeSafetensors(path, kept);
  await writeFile(join(to, part, 'config.json'), await readFile(join(from, part, 'config.json')));
  for (const file of ['tokenizer.json', SUPPORT_FILE, CACHE_FILE]) await copyWhereThere(join(part, file));
  let size = 0;
  for (const file of await readdir(join(to, part))) size += (await stat(join(to, part, file))).size;
  total += size;
  console.log(`${part}: ${kept.length} tensors, ${(size / 1e6).toFixed(1)} MB`);
}
await copyWhereThere('generation.json');
console.log(`${to}: ${(total / 1e6).toFixed(1)} MB`);
