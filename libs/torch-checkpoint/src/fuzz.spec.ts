import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClipGenError } from '@clip-gen/errors';
import { RandomStream } from '@clip-gen/rng';
import { temporaryFolder } from '@clip-gen/testing';
import { expect, it } from 'vitest';
import { openTorchCheckpoint } from './checkpoint.ts';
import { stateDict } from './state-dict.ts';

/** What a damaged file may make this program allocate at most, the runtime's own noise included. */
const BOUND_BYTES = 256 << 20;
const ROUNDS = 200;

/** Opens a file and reads all its tensors. Whatever is wrong must come as a ClipGenError. */
async function readWhole(path: string): Promise<'read' | ClipGenError> {
  try {
    const checkpoint = await openTorchCheckpoint(path);
    try {
      for (const reference of stateDict(checkpoint.root, path).tensors.values()) {
        await checkpoint.read(reference).catch((error: unknown) => {
          if (!(error instanceof ClipGenError && error.code === 'unimplemented')) throw error;
        });
      }
      return 'read';
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (error instanceof ClipGenError) return error;
    throw error;
  }
}

it.each(['tensors.pt', 'legacy.pt', 'scripted.pt', 'lightning.ckpt'])(
  'flipped and cut bytes of %s give clear errors and bounded work',
  async (name) => {
    const whole = await readFile(fileURLToPath(new URL(`../goldens/${name}`, import.meta.url)));
    const path = join(await temporaryFolder(), name);
    const random = new RandomStream(20);
    const below = (bound: number): number => random.integer(bound);
    const before = process.memoryUsage().rss;
    let refused = 0;
    for (let round = 0; round < ROUNDS; round++) {
      let bytes = Buffer.from(whole);
      if (round % 4 === 3) bytes = bytes.subarray(0, below(bytes.length));
      else for (let i = 0; i <= round % 8; i++) bytes[below(bytes.length)]! ^= 1 << below(8);
      await writeFile(path, bytes);
      const outcome = await readWhole(path);
      if (outcome === 'read') continue;
      refused++;
      expect(outcome.message).not.toContain('\n');
    }
    expect(refused).toBeGreaterThan(ROUNDS / 4);
    expect(process.memoryUsage().rss - before).toBeLessThan(BOUND_BYTES);
  },
);

it.each(['tensors.pt', 'scripted.pt', 'legacy.pt'])('every proper beginning of %s is refused', async (name) => {
  const whole = await readFile(fileURLToPath(new URL(`../goldens/${name}`, import.meta.url)));
  const path = join(await temporaryFolder(), name);
  for (let length = 0; length < whole.length; length += 37) {
    await writeFile(path, whole.subarray(0, length));
    expect(await readWhole(path)).toBeInstanceOf(ClipGenError);
  }
});

it('finds a flipped bit in the weights themselves by their checksum', async () => {
  const bytes = await readFile(fileURLToPath(new URL('../goldens/lightning.ckpt', import.meta.url)));
  const weights = Buffer.from(Float32Array.of(0, 1, 2, 3).buffer);
  const at = bytes.indexOf(weights);
  expect(at).toBeGreaterThan(0);
  bytes[at + 5]! ^= 4;
  const path = join(await temporaryFolder(), 'flipped.ckpt');
  await writeFile(path, bytes);
  expect(await readWhole(path)).toMatchObject({ code: 'data_corrupt', message: expect.stringMatching(/checksum/) });
});
