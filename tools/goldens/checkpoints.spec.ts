import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { checkImport } from './checkpoint-agreement.ts';

const FOLDER = fileURLToPath(new URL('checkpoints', import.meta.url));
const SUFFIX = '.expected.safetensors';
const cases = readdirSync(FOLDER)
  .filter((name) => name.endsWith(SUFFIX))
  .map((name) => name.slice(0, -SUFFIX.length));

/** Of float32 against PyTorch's float64 on the same weights. */
const TOLERANCE = 1e-5;

it('covers every kind of checkpoint', () => {
  expect(cases).toHaveLength(12);
});

it.each(cases)('%s computes after the import what PyTorch computes with it', async (name) => {
  const { report, agreements, codes } = await checkImport(join(FOLDER, name + SUFFIX), await temporaryFolder());
  expect(report.unknown).toEqual([]);
  expect(agreements.length).toBeGreaterThan(0);
  for (const { output, relative } of agreements) expect(relative, output).toBeLessThan(TOLERANCE);
  expect(codes.other).toBe(0);
});
