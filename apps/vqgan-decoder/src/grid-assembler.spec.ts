import { describe, expect, it } from 'vitest';
import { GridAssembler } from './grid-assembler.ts';

const DESCRIPTION = {
  name: 'test',
  weightsSha256: '',
  grid: { height: 2, width: 3 },
  codebookSize: 10,
  image: { height: 8, width: 12 },
};
const OPTIONS = { candidates: 2, firstCandidate: 5, conditions: 2, partialImages: 0, format: 0 };
const event = (condition: number, firstCandidate: number, position: number, ...tokens: number[]) => ({
  condition,
  firstCandidate,
  position,
  positions: 1,
  tokens,
});

describe('GridAssembler', () => {
  it('gives each grid when it is full, whatever the order of candidates', () => {
    const grids = new GridAssembler(OPTIONS, DESCRIPTION);
    expect(grids.missing).toBe(4);
    for (let position = 0; position < 5; position++) {
      expect(grids.take(event(0, 5, position, position, position + 1))).toEqual([]);
    }
    expect(grids.take(event(0, 6, 5, 9))).toEqual([
      { condition: 0, candidate: 6, tokens: Int32Array.of(1, 2, 3, 4, 5, 9) },
    ]);
    for (let position = 0; position < 5; position++) grids.take(event(1, 5, position, 7, 8));
    expect(grids.take(event(1, 5, 5, 0, 1)).map(({ condition, candidate }) => [condition, candidate])).toEqual([
      [1, 5],
      [1, 6],
    ]);
    expect(grids.take(event(0, 5, 5, 3))).toMatchObject([{ condition: 0, candidate: 5 }]);
    expect(grids.missing).toBe(0);
    grids.finish();
  });

  it('gives partial pictures at even distances, filled up with the last code', () => {
    const grids = new GridAssembler({ ...OPTIONS, candidates: 1, conditions: 1, partialImages: 2 }, DESCRIPTION);
    const due = [4, 5, 6, 7, 8, 9].flatMap((token, position) => grids.take(event(0, 5, position, token)));
    expect(due).toEqual([
      { condition: 0, candidate: 5, partial: { index: 0, positions: 2 }, tokens: Int32Array.of(4, 5, 5, 5, 5, 5) },
      { condition: 0, candidate: 5, partial: { index: 1, positions: 4 }, tokens: Int32Array.of(4, 5, 6, 7, 7, 7) },
      { condition: 0, candidate: 5, tokens: Int32Array.of(4, 5, 6, 7, 8, 9) },
    ]);
  });

  it('takes several positions in one event, position by position', () => {
    const grids = new GridAssembler({ ...OPTIONS, conditions: 1, partialImages: 1 }, DESCRIPTION);
    const due = grids.take({ ...event(0, 5, 0, 0, 9, 1, 8, 2, 7, 3, 6), positions: 4 });
    expect(due).toEqual([
      { condition: 0, candidate: 5, partial: { index: 0, positions: 3 }, tokens: Int32Array.of(0, 1, 2, 2, 2, 2) },
      { condition: 0, candidate: 6, partial: { index: 0, positions: 3 }, tokens: Int32Array.of(9, 8, 7, 7, 7, 7) },
    ]);
    expect(() => grids.take({ ...event(0, 5, 4, 1, 1, 1, 1, 1, 1), positions: 3 })).toThrow(
      'position must be in [0, 6); got "4 to 6"',
    );
    expect(() => grids.take({ ...event(0, 5, 4, 1, 1, 1), positions: 2 })).toThrow(
      'tokens must be as many for each of 2 positions; got 3',
    );
    expect(grids.take({ ...event(0, 5, 4, 4, 5, 5, 4), positions: 2 })).toEqual([
      { condition: 0, candidate: 5, tokens: Int32Array.of(0, 1, 2, 3, 4, 5) },
      { condition: 0, candidate: 6, tokens: Int32Array.of(9, 8, 7, 6, 5, 4) },
    ]);
  });

  it('shows no more partial pictures than there are positions', () => {
    const grids = new GridAssembler({ ...OPTIONS, candidates: 1, conditions: 1, partialImages: 16 }, DESCRIPTION);
    const due = [0, 1, 2, 3, 4, 5].flatMap((position) => grids.take(event(0, 5, position, 1)));
    expect(due.map(({ partial }) => partial?.positions)).toEqual([1, 2, 3, 4, 5, undefined]);
    expect(due.slice(0, -1).map(({ partial }) => partial?.index)).toEqual([0, 1, 2, 3, 4]);
  });

  it.each([
    [{ candidates: 257 }, 'candidates must be in [1, 256]; got 257'],
    [{ conditions: 17 }, 'conditions must be in [1, 16]; got 17'],
    [{ candidates: 33, conditions: 8 }, 'conditions · candidates must be at most 256; got 264'],
    [{ firstCandidate: 2 ** 31 }, 'firstCandidate must be in [0, 2^31); got 2147483648'],
    [{ partialImages: 17 }, 'partialImages must be in [0, 16]; got 17'],
  ])('refuses options out of bounds (%j)', (change, message) => {
    expect(() => new GridAssembler({ ...OPTIONS, ...change }, DESCRIPTION)).toThrow(message);
  });

  it('counts nothing as one', () => {
    expect(new GridAssembler({ ...OPTIONS, candidates: 0, conditions: 0 }, DESCRIPTION).missing).toBe(1);
  });

  it.each([
    [event(2, 5, 0, 1), 'condition must be in [0, 2); got 2'],
    [event(0, 5, 0), 'tokens must be at least one code; got "none"'],
    [event(0, 4, 0, 1), 'candidates of an event must be in [5, 7); got "4 to 4"'],
    [event(0, 6, 0, 1, 1), 'candidates of an event must be in [5, 7); got "6 to 7"'],
    [event(0, 5, 6, 1), 'position must be in [0, 6); got 6'],
    [event(0, 5, 1, 10), 'tokens[0] must be in [0, 10); got 10'],
    [event(0, 5, 0, 1), 'position of condition 0, candidate 5 must be 1, its next; got 0'],
    [event(0, 5, 1, 1, 1), 'position of condition 0, candidate 6 must be 0, its next; got 1'],
    [event(0, 5, 2, 1), 'position of condition 0, candidate 5 must be 1, its next; got 2'],
    [event(1, 5, 5, 1), 'position of condition 1, candidate 5 must be absent: its grid is full; got 5'],
  ])('refuses an event that does not fit, in whole (%#)', (bad, message) => {
    const grids = new GridAssembler(OPTIONS, DESCRIPTION);
    grids.take(event(0, 5, 0, 1));
    for (let position = 0; position < 6; position++) grids.take(event(1, 5, position, 1));
    expect(() => grids.take(bad)).toThrow(message);
    expect(grids.take(event(0, 5, 1, 2))).toEqual([]);
  });

  it('says what is missing at the end', () => {
    const grids = new GridAssembler(OPTIONS, DESCRIPTION);
    for (let position = 0; position < 6; position++) grids.take(event(0, 5, position, 1));
    grids.take(event(0, 6, 0, 1));
    expect(() => grids.finish()).toThrow(
      'tokens must fill every grid before the stream ends; 3 of 4 are not full, the first (condition 0, candidate 6) has 1 of 6',
    );
  });
});
