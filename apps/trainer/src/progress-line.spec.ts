import { describe, expect, it } from 'vitest';
import { formatDuration, formatProgress, ProgressLine, type ProgressSnapshot } from './progress-line.ts';

const snapshot: ProgressSnapshot = {
  stage: 'vqgan',
  epoch: 2,
  epochs: 40,
  step: 26,
  stepsPerEpoch: 50,
  metrics: { loss: 0.0812, psnr: 22.123456 },
  imagesPerSecond: 96.4,
  secondsLeft: 660,
};

it.each([
  [0, '0 s'],
  [42.4, '42 s'],
  [89.4, '89 s'],
  [90, '2 min'],
  [660, '11 min'],
  [5340, '89 min'],
  [5400, '1 h 30 min'],
  [12_000, '3 h 20 min'],
  [Infinity, '?'],
  [NaN, '?'],
])('formatDuration(%d) is %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

describe('formatProgress', () => {
  it('tells where it is, how it goes and how long it will take', () => {
    expect(formatProgress(snapshot)).toBe(
      'vqgan  epoch 3/40 ▕██████░░░░░░▏ 52 %  loss 0.08120  psnr 22.12  96 images/s  11 min left',
    );
  });

  it('is full at the end of an epoch and knows an epoch without steps', () => {
    expect(formatProgress({ ...snapshot, step: 50 })).toContain('▕████████████▏ 100 %');
    expect(formatProgress({ ...snapshot, step: 0, stepsPerEpoch: 0 })).toContain('100 %');
  });

  it('fits into the terminal', () => {
    expect(formatProgress(snapshot, 40)).toHaveLength(39);
    expect(formatProgress(snapshot, 0)).toHaveLength(20);
  });
});

describe('ProgressLine', () => {
  const recorded = (isTTY: boolean) => {
    const texts: string[] = [];
    return { texts, line: new ProgressLine({ write: (text) => texts.push(text), isTTY, columns: 60 }) };
  };

  it('rewrites its line on a terminal, and clears it for a message', () => {
    const { texts, line } = recorded(true);
    while (texts.length === 0) line.update(snapshot); // none in the process's first 200 ms
    line.update(snapshot); // too soon
    line.print('hello');
    line.print('again');
    expect(texts).toEqual([`\r\u001b[2K${formatProgress(snapshot, 60)}`, '\r\u001b[2Khello\n', 'again\n']);
  });

  it('goes on when it can no longer be written, and says so once', () => {
    let lost = 0;
    let written = 0;
    const write = (): never => {
      written++;
      throw new Error('EPIPE');
    };
    const line = new ProgressLine({ write }, 30, () => lost++);
    line.print('hello');
    line.print('again');
    expect([written, lost]).toEqual([1, 1]);
  });

  it('prints whole lines now and then elsewhere', () => {
    const { texts, line } = recorded(false);
    line.update(snapshot);
    line.update(snapshot); // too soon
    line.print('hello');
    expect(texts).toEqual([`${formatProgress(snapshot)}\n`, 'hello\n']);
  });
});
