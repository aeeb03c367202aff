import { describe, expect, it } from 'vitest';
import { colourName, dominantColour } from './colour.ts';

function pixels(...runs: [count: number, rgba: [number, number, number, number]][]): Uint8Array {
  return Uint8Array.from(runs.flatMap(([count, rgba]) => Array.from({ length: count }, () => rgba).flat()));
}

describe('colourName', () => {
  it.each([
    [221, 46, 68, 'red'],
    [85, 172, 238, 'blue'],
    [119, 178, 85, 'green'],
    [255, 204, 77, 'yellow'],
    [244, 144, 12, 'orange'],
    [170, 142, 214, 'purple'],
    [193, 105, 79, 'brown'],
    [228, 160, 100, 'brown'],
    [255, 182, 54, 'yellow'],
    [244, 171, 186, 'pink'],
    [41, 47, 51, 'black'],
    [255, 255, 255, 'white'],
    [153, 160, 165, 'grey'],
  ])('%i, %i, %i is %s', (red, green, blue, name) => expect(colourName(red, green, blue)).toBe(name));
});

describe('dominantColour', () => {
  it('takes the colour of most of what is drawn, black lines and white lights aside', () => {
    expect(
      dominantColour(
        pixels([70, [0, 90, 220, 255]], [60, [0, 0, 0, 255]], [60, [255, 255, 255, 255]], [30, [220, 20, 20, 255]]),
      ),
    ).toBe('blue');
  });

  it('names none when two colours share, when it is grey, or when nearly nothing is drawn', () => {
    expect(dominantColour(pixels([50, [0, 90, 220, 255]], [50, [220, 20, 20, 255]]))).toBeUndefined();
    expect(dominantColour(pixels([100, [128, 128, 128, 255]]))).toBeUndefined();
    expect(dominantColour(pixels([3, [0, 90, 220, 255]], [97, [0, 90, 220, 0]]))).toBeUndefined();
    expect(dominantColour(new Uint8Array(0))).toBeUndefined();
  });
});
