import { ParameterArena } from '@clip-gen/optimizer';
import { tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { World } from '../distributed/world.ts';
import { CodebookUsage } from './codebook-usage.ts';

const CODES = 6;
const NAME = 'quantizer.embedding.weight';
// No latent has a value that a code has.
const latents = tensor('float32', [3, 2], Float32Array.of(100, 101, 200, 201, 300, 301));

function arenaWithMoments(): ParameterArena {
  const arena = new ParameterArena([{ name: NAME, shape: [CODES, 2], decay: false }], { averages: true });
  for (const kind of ['values', 'firstMoments', 'secondMoments', 'averages'] as const) {
    arena[kind].get(NAME)!.data.set(Float32Array.from({ length: CODES * 2 }, (_, i) => i + 1));
  }
  return arena;
}

const chosen = (...codes: number[]) => tensor('int64', [codes.length], BigInt64Array.from(codes, BigInt));
/** The codes of the three latents: near, far, far. */
const tokens = chosen(0, 4, 3);
const row = (arena: ParameterArena, kind: 'values' | 'firstMoments' | 'secondMoments' | 'averages', code: number) => [
  ...arena[kind].get(NAME)!.data.subarray(2 * code, 2 * code + 2),
];

describe('CodebookUsage', () => {
  it('moves the codes that were not chosen, and no other, to latents of the batch', async () => {
    const usage = new CodebookUsage(CODES, 10, 7);
    await usage.count([chosen(0, 4, 4)], World.alone());
    await usage.count([chosen(3)], World.alone());
    expect(usage.used).toBe(3 / CODES);
    const arena = arenaWithMoments();
    expect(usage.revive(arena, latents, tokens, 9)).toBe(3);
    for (const code of [0, 3, 4]) {
      for (const kind of ['values', 'firstMoments', 'secondMoments', 'averages'] as const) {
        expect(row(arena, kind, code)).toEqual([2 * code + 1, 2 * code + 2]);
      }
    }
    const rows = [0, 1, 2].map((i) => [...latents.data.subarray(2 * i, 2 * i + 2)]);
    for (const code of [1, 2, 5]) {
      expect(rows).toContainEqual(row(arena, 'values', code));
      expect(row(arena, 'averages', code)).toEqual(row(arena, 'values', code));
      expect(row(arena, 'firstMoments', code)).toEqual([0, 0]);
      expect(row(arena, 'secondMoments', code)).toEqual([0, 0]);
    }
  });

  it('chooses latents that are far from every code, each only once while others are left', async () => {
    // Latents that lie on a code already are never drawn; the one that does not takes the first code.
    const arena = arenaWithMoments();
    const batch = tensor('float32', [4, 2], Float32Array.of(1, 2, 1, 2, 50, 60, 1, 2));
    const usage = new CodebookUsage(CODES, 10, 7);
    await usage.count([chosen(0, 2, 3, 4, 5)], World.alone());
    expect(usage.revive(arena, batch, chosen(0, 0, 0, 0), 9)).toBe(1);
    expect(row(arena, 'values', 1)).toEqual([50, 60]);

    const spread = arenaWithMoments();
    new CodebookUsage(CODES, 10, 3).revive(spread, latents, tokens, 9);
    const places = Array.from({ length: 3 }, (_, code) => row(spread, 'values', code)[0]);
    expect(new Set(places).size).toBe(3);
  });

  it('begins a new window then', async () => {
    const usage = new CodebookUsage(CODES, 10, 7);
    await usage.count([chosen(0, 1, 2, 3, 4)], World.alone());
    usage.revive(arenaWithMoments(), latents, tokens, 9);
    expect(usage.used).toBe(0);
    await usage.count([chosen(0, 1, 2, 3, 4, 5)], World.alone());
    expect(usage.revive(arenaWithMoments(), latents, tokens, 19)).toBe(0);
  });

  it('draws by seed and step alone', () => {
    const moved = (seed: number, step: number): number[] => {
      const arena = arenaWithMoments();
      new CodebookUsage(CODES, 10, seed).revive(arena, latents, tokens, step);
      return [...arena.values.get(NAME)!.data];
    };
    expect(moved(7, 9)).toEqual(moved(7, 9));
    expect(moved(7, 19)).not.toEqual(moved(7, 9));
    expect(moved(8, 9)).not.toEqual(moved(7, 9));
  });

  it('ends windows after 1, 2, 4, … steps at first, then at every multiple', () => {
    const due = (windowSteps: number): number[] => {
      const usage = new CodebookUsage(CODES, windowSteps, 0);
      return Array.from({ length: 35 }, (_, step) => step + 1).filter((step) => usage.isDue(step - 1));
    };
    expect(due(10)).toEqual([1, 2, 4, 8, 10, 20, 30]);
    expect(due(16)).toEqual([1, 2, 4, 8, 16, 32]);
    expect(due(1)).toHaveLength(35);
    expect(due(0)).toEqual([]);
  });
});
