import { join } from 'node:path';
import { writeSafetensors } from '@clip-gen/safetensors';
import { tensor } from '@clip-gen/tensor';
import { expect, it } from 'vitest';
import { loadGoldens } from './goldens.ts';
import { temporaryFolder } from './temporary-folder.ts';

it('reads tensors and notes, and names what is missing or of another type', async () => {
  const path = join(await temporaryFolder(), 'goldens.safetensors');
  await writeSafetensors(
    path,
    [
      ['x', tensor('float32', [2, 2], Float32Array.of(1, 2, 3, 4))],
      ['ids', tensor('int64', [2], BigInt64Array.of(5n, -6n))],
    ],
    { torch: '2.15' },
  );

  const goldens = await loadGoldens(path);
  expect([...goldens.keys()].sort()).toEqual(['ids', 'x']);
  expect(goldens.metadata.get('torch')).toBe('2.15');
  expect(goldens.tensor('x')).toEqual({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
  expect(goldens.tensor('ids', 'int64').data[1]).toBe(-6n);
  expect(() => goldens.tensor('y')).toThrow('has no golden "y"; it has');
  expect(() => goldens.tensor('ids')).toThrow('golden "ids" must be float32; it is int64');
});

it('takes a file URL and refuses a file that is not there', async () => {
  await expect(loadGoldens(new URL('./absent.safetensors', import.meta.url))).rejects.toMatchObject({
    code: 'not_found',
  });
});
