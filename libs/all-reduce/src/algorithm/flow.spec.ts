import { expect, it } from 'vitest';
import { carryOn, type Flow, type Wait } from './flow.ts';

type GoOn = (error?: Error) => void;

/** Carries on a flow of so many waits; `wait` decides when they are over. */
function carry(waits: number, wait: (what: Wait, goOn: GoOn) => void): (Error | undefined)[] {
  const ends: (Error | undefined)[] = [];
  function* flow(): Flow {
    for (let i = 0; i < waits; i++) yield 'sent';
  }
  carryOn(flow(), wait, (error) => ends.push(error));
  return ends;
}

it('goes through waits that are over at once, however many, without a deeper stack', () => {
  expect(carry(100_000, (_, goOn) => goOn())).toEqual([undefined]);
});

it('goes on when what it waits for comes later', () => {
  const waiting: GoOn[] = [];
  const ends = carry(3, (_, goOn) => waiting.push(goOn));
  for (let i = 0; i < 3; i++) {
    expect([waiting.length, ends]).toEqual([i + 1, []]);
    waiting[i]!();
  }
  expect(ends).toEqual([undefined]);
});

it('ends once with the error of a wait, whatever comes after it', () => {
  const failed = new Error('no bytes will come');
  let asked = 0;
  const ends = carry(3, (_, goOn) => {
    asked++;
    goOn(failed);
    goOn();
  });
  expect([asked, ends]).toEqual([1, [failed]]);
});

it.each([
  ['a step', () => undefined],
  ['a wait', () => 'sent' as const],
])('ends with what %s throws', (_, first) => {
  const ends: (Error | undefined)[] = [];
  function* flow(): Flow {
    const what = first();
    if (what) yield what;
    throw new Error('thrown by the step');
  }
  const wait = (): void => {
    throw new Error('thrown by the wait');
  };
  carryOn(flow(), wait, (error) => ends.push(error));
  expect(ends).toEqual([new Error(first() ? 'thrown by the wait' : 'thrown by the step')]);
});
