import { describe, expect, it } from 'vitest';
import { TokenLog, type TokenRun } from './token-log.ts';

const at = (position: number, tokens: number[], firstCandidate = 0) => {
  return { condition: 0, firstCandidate, position, positions: 1, tokens };
};
const run = (position: number, positions: number, tokens: number[], firstCandidate = 0) => {
  return { firstCandidate, position, positions, tokens };
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
    expect(await early).toEqual([run(0, 1, [1, 2]), run(1, 2, [3, 4, 5, 6])]);
    expect(await later).toEqual([run(0, 1, [1, 2]), run(1, 2, [3, 4, 5, 6])]);
    expect(await all(log.read(0, 2, never))).toEqual([run(0, 3, [1, 2, 3, 4, 5, 6])]);
    expect(log.full).toBe(true);
  });

  it('gives a reader its own candidates alone, and ends with them', async () => {
    const log = new TokenLog(4, 2, 10);
    for (const position of [0, 1]) log.append(at(position, [1, 2], 0));
    expect(await all(log.read(0, 1, never))).toEqual([run(0, 2, [1, 1])]);
    const rest = all(log.read(1, 3, never));
    log.append({ condition: 0, firstCandidate: 2, position: 0, positions: 2, tokens: [3, 4, 5, 6] });
    expect(await rest).toEqual([run(0, 2, [2, 2], 1), run(0, 2, [3, 4, 5, 6], 2)]);
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
    expect(await all(log.read(0, 3, never))).toEqual([run(0, 2, [1, 2, 3, 4, 5, 6])]);
  });

  it('gives neighbours that are as far together, and others apart', async () => {
    const log = new TokenLog(3, 2, 10);
    log.append(at(0, [1, 2, 3]));
    log.append(at(1, [4]));
    const reading = log.read(0, 3, never);
    const next = async (): Promise<unknown> => (await reading.next()).value;
    expect(await next()).toEqual(run(0, 2, [1, 4]));
    expect(await next()).toEqual(run(0, 1, [2, 3], 1));
    log.append({ condition: 0, firstCandidate: 1, position: 0, positions: 2, tokens: [2, 3, 5, 6] });
    expect(await next()).toEqual(run(1, 1, [5, 6], 1));
    expect(await next()).toBeUndefined();
  });

  it('waits for as many positions as the reader wants at least', async () => {
    const log = new TokenLog(2, 5, 10);
    const drawn = (position: number, tokens: number[]) => ({ ...at(position, tokens), positions: tokens.length / 2 });
    const pairs = all(log.read(0, 2, never, 2));
    const whole = all(log.read(0, 2, never, 5));
    for (const position of [0, 1, 2]) {
      log.append(drawn(position, [position, position]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    log.append(drawn(3, [3, 3, 4, 4]));
    expect(await pairs).toEqual([run(0, 2, [0, 0, 1, 1]), run(2, 3, [2, 2, 3, 3, 4, 4])]);
    expect(await whole).toEqual([run(0, 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])]);
  });

  it('refuses replicas that disagree', () => {
    const log = new TokenLog(1, 2, 10);
    log.append(at(0, [1]));
    expect(() => log.append(at(0, [2]))).toThrow('replicas of the sampler disagree');
  });

  it.each([
    [at(2, [1]), 'tokens of candidates 0 to 0 at 2 to 2'],
    [at(0, [1, 2, 3]), 'tokens of candidates 0 to 2 at 0 to 0'],
    [at(0, [1], 2), 'tokens of candidates 2 to 2 at 0 to 0'],
    [at(0, []), 'tokens must be at least one code'],
    [{ ...at(0, [1, 2, 3]), positions: 2 }, 'tokens must be as many for each of 2 positions; got 3'],
    [{ ...at(1, [1, 2]), positions: 2 }, 'tokens of candidates 0 to 0 at 1 to 2'],
    [at(1, [1]), 'position 1 of candidate 0 after 0 tokens'],
    [at(0, [10]), 'code 10 of a codebook of 10'],
  ])('refuses what was not asked for %#', (event, message) => {
    expect(() => new TokenLog(2, 2, 10).append(event)).toThrow(message);
  });

  it('lets a reader go', async () => {
    const control = new AbortController();
    const reading = all(new TokenLog(1, 1, 10).read(0, 1, control.signal));
    control.abort();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
  });
});
