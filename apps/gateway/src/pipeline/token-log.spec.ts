import { describe, expect, it } from 'vitest';
import { TokenLog, type TokenRun } from './token-log.ts';

const at = (position: number, tokens: number[], firstCandidate = 0) => {
  return { condition: 0, firstCandidate, position, tokens };
};

async function all(runs: AsyncIterable<TokenRun>): Promise<TokenRun[]> {
  const list: TokenRun[] = [];
  for await (const run of runs) list.push(run);
  return list;
}

const never = new AbortController().signal;

describe('TokenLog', () => {
  it('gives every reader all tokens, whenever it begins', async () => {
    const log = new TokenLog(2, 3, 10);
    const early = all(log.read(0, 2, never));
    log.append(at(0, [1, 2]));
    const later = all(log.read(0, 2, never));
    await Promise.resolve();
    log.append(at(1, [3, 4]));
    expect({ drawn: log.drawn, total: log.total, full: log.full }).toEqual({ drawn: 4, total: 6, full: false });
    log.append(at(2, [5, 6]));
    const runs = [
      { firstCandidate: 0, position: 0, tokens: [1, 2] },
      { firstCandidate: 0, position: 1, tokens: [3, 4] },
      { firstCandidate: 0, position: 2, tokens: [5, 6] },
    ];
    expect(await early).toEqual(runs);
    expect(await later).toEqual(runs);
    expect(await all(log.read(0, 2, never))).toEqual(runs);
    expect(log.full).toBe(true);
  });

  it('gives a reader its own candidates alone, and ends with them', async () => {
    const log = new TokenLog(4, 2, 10);
    for (const position of [0, 1]) log.append(at(position, [1, 2], 0));
    expect(await all(log.read(0, 1, never))).toEqual([
      { firstCandidate: 0, position: 0, tokens: [1] },
      { firstCandidate: 0, position: 1, tokens: [1] },
    ]);
    const rest = all(log.read(1, 3, never));
    for (const position of [0, 1]) log.append(at(position, [3, 4], 2));
    expect(await rest).toEqual([
      { firstCandidate: 1, position: 0, tokens: [2] },
      { firstCandidate: 1, position: 1, tokens: [2] },
      { firstCandidate: 2, position: 0, tokens: [3, 4] },
      { firstCandidate: 2, position: 1, tokens: [3, 4] },
    ]);
  });

  it('passes over what is drawn again, however it is cut', async () => {
    const log = new TokenLog(3, 2, 10);
    log.append(at(0, [1, 2, 3]));
    log.append(at(1, [4]));
    expect(log.firstUnfinished).toBe(1);
    log.append(at(0, [1, 2, 3]));
    log.append(at(1, [4, 5, 6]));
    expect(log.full).toBe(true);
    expect(log.firstUnfinished).toBe(3);
    expect((await all(log.read(0, 3, never))).map(({ firstCandidate, tokens }) => [firstCandidate, ...tokens])).toEqual(
      [
        [0, 1, 2, 3],
        [0, 4],
        [1, 5, 6],
      ],
    );
  });

  it('refuses replicas that disagree', () => {
    const log = new TokenLog(1, 2, 10);
    log.append(at(0, [1]));
    expect(() => log.append(at(0, [2]))).toThrow('replicas of the sampler disagree');
  });

  it.each([
    [at(2, [1]), 'tokens of candidates 0 to 0 at 2'],
    [at(0, [1, 2, 3]), 'tokens of candidates 0 to 2 at 0'],
    [at(0, [1], 2), 'tokens of candidates 2 to 2 at 0'],
    [at(0, []), 'tokens of candidates'],
    [at(1, [1]), 'position 1 of candidate 0 after 0 tokens'],
    [at(0, [10]), 'code 10 of a codebook of 10'],
  ])('refuses what was not asked for %#', (event, message) => {
    expect(() => new TokenLog(2, 2, 10).append(event)).toThrow(message);
  });

  it('lets a reader go', async () => {
    const control = new AbortController();
    const reading = all(new TokenLog(1, 1, 10).read(0, 1, control.signal));
    control.abort();
    expect(await reading).toEqual([]);
  });
});
