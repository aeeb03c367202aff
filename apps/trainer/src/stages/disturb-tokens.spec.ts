import { tensor } from '@clip-gen/tensor';
import { describe, expect, it } from 'vitest';
import { disturbedTokens } from './disturb-tokens.ts';

const [B, T, K] = [64, 65, 1000];
const tokens = tensor(
  'int64',
  [B, T],
  BigInt64Array.from({ length: B * T }, (_, i) => BigInt((7 * i) % K)),
);
const others = tensor(
  'int32',
  [3, T],
  Int32Array.from({ length: 3 * T }, (_, i) => K + (i % T)),
);
const disturbed = (tokenNoise: number, step = 3) =>
  disturbedTokens(tokens, others, { tokenNoise, seed: 5, codes: K }, step);

/** Share of each row that is not what it was. */
function shares(tokenNoise: number): number[] {
  const { data } = disturbed(tokenNoise);
  return Array.from({ length: B }, (_, b) => {
    let changed = 0;
    for (let t = 0; t < T - 1; t++) if (data[b * (T - 1) + t] !== tokens.data[b * T + t]) changed++;
    return changed / (T - 1);
  });
}

describe('the tokens before each position', () => {
  it('are all but the last, unchanged without noise', () => {
    expect(disturbed(0).shape).toEqual([B, T - 1]);
    expect(Math.max(...shares(0))).toBe(0);
  });

  it('are replaced by random codes and by those of other pictures at the same place, half and half', () => {
    const { data } = disturbed(1);
    let own = 0;
    let random = 0;
    data.forEach((token, i) => {
      const [b, t] = [Math.floor(i / (T - 1)), i % (T - 1)];
      if (token >= K) {
        expect(token).toBe(BigInt(K + t));
        own++;
      } else if (token !== tokens.data[b * T + t]) random++;
    });
    expect(own / (own + random)).toBeGreaterThan(0.45); // of about 2,000; its deviation is 0.011
    expect(own / (own + random)).toBeLessThan(0.55);
  });

  it('are replaced by codes, in each row another share up to the bound', () => {
    const seen = shares(0.5);
    const mean = seen.reduce((sum, share) => sum + share) / B;
    expect(mean).toBeGreaterThan(0.18); // 0.25 in the mean; its deviation over 64 rows is 0.02
    expect(mean).toBeLessThan(0.32);
    expect(Math.min(...seen)).toBeLessThan(0.1);
    expect(Math.max(...seen)).toBeGreaterThan(0.4);
    expect(disturbed(1).data.every((token) => token >= 0n && token < BigInt(K + T))).toBe(true);
  });

  it('are a function of seed and step, and leave the true ones alone', () => {
    const before = tokens.data.slice();
    expect(disturbed(0.5)).toEqual(disturbed(0.5));
    expect(disturbed(0.5, 4)).not.toEqual(disturbed(0.5));
    expect(tokens.data).toEqual(before);
  });
});
