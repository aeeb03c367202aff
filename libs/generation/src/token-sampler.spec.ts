import { GPT_PRESETS, type GptConfig } from '@clip-gen/gpt';
import { describe, expect, it } from 'vitest';
import { candidatesTogether } from './token-sampler.ts';

const released = GPT_PRESETS['gpt2-medium'];
const small: GptConfig = { ...released, tokens: 64, width: 64, layers: 2, heads: 2 };

describe('candidates of one step', () => {
  it.each([
    [1, 1, 1, 1],
    [8, 1, 8, 8],
    [42, 1, 42, 42], // 48 MiB of keys and values each in float32, 2 GiB in all
    [43, 1, 22, 43],
    [64, 1, 32, 64],
    [64, 2, 16, 32],
    [1000, 1, 42, 63],
  ])('of the released size: %i with %i rows each are drawn by %i, in 8 bits by %i', (all, rowsEach, wide, narrow) => {
    expect(candidatesTogether(released, all, rowsEach, 'float32')).toBe(wide);
    expect(candidatesTogether(released, all, rowsEach, 'int8')).toBe(narrow);
  });

  it('are at most 64 rows', () => {
    expect(candidatesTogether(small, 64, 1, 'float32')).toBe(64);
    expect(candidatesTogether(small, 65, 1, 'float32')).toBe(33);
    expect(candidatesTogether(small, 256, 2, 'float32')).toBe(32);
  });

  it('are one at least, whatever one needs', () => {
    expect(candidatesTogether({ ...released, layers: 1200, tokens: 1024 }, 3, 2, 'int8')).toBe(1);
  });
});
