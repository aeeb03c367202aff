/** A colour takes the picture when it covers at least this share of what is drawn. */
const DOMINANT_SHARE = 0.6;
/** Fewer drawn pixels than this share of the square say nothing about the thing's colour. */
const DRAWN_SHARE = 0.04;

/**
 * The one saturated colour that a picture mostly is, in the word that people use for it, or undefined when it is grey,
 * many-coloured or nearly empty.
 *
 * Black lines and white lights do not count as drawn, so that an outlined or shiny thing still has its colour.
 *
 * @param rgba bytes, four a pixel, straight alpha
 */
export function dominantColour(rgba: Uint8Array): string | undefined {
  const counts = new Map<string, number>();
  const pixels = Math.floor(rgba.length / 4);
  let drawn = 0;
  for (let at = 0; at < pixels * 4; at += 4) {
    if ((rgba[at + 3] ?? 0) < 128) continue;
    const name = colourName(rgba[at] ?? 0, rgba[at + 1] ?? 0, rgba[at + 2] ?? 0);
    if (name === 'black' || name === 'white') continue;
    drawn += 1;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  if (drawn < DRAWN_SHARE * pixels) return undefined;
  for (const [name, count] of counts) {
    if (name !== 'grey' && count >= DOMINANT_SHARE * drawn) return name;
  }
  return undefined;
}

/** The basic English colour word for 8-bit sRGB values. */
export function colourName(red: number, green: number, blue: number): string {
  const high = Math.max(red, green, blue);
  const low = Math.min(red, green, blue);
  const chroma = high - low;
  const value = high / 255;
  const saturation = high === 0 ? 0 : chroma / high;
  if (value < 0.22) return 'black';
  if (saturation < 0.12 && value > 0.88) return 'white';
  if (saturation < 0.22) return 'grey';
  const hue = hueDegrees(red, green, blue, high, chroma);
  if (hue < 12 || hue >= 340) return saturation < 0.55 && value > 0.75 ? 'pink' : 'red';
  if (hue < 37) {
    if (saturation < 0.45 && value > 0.8) return 'beige';
    return value < 0.72 || (saturation < 0.7 && value < 0.95) ? 'brown' : 'orange';
  }
  if (hue < 68) return value < 0.6 ? 'brown' : 'yellow';
  if (hue < 165) return 'green';
  if (hue < 190) return 'turquoise';
  if (hue < 250) return 'blue';
  if (hue < 292) return 'purple';
  return 'pink';
}

function hueDegrees(red: number, green: number, blue: number, high: number, chroma: number): number {
  const sixth =
    high === red ? (green - blue) / chroma : high === green ? 2 + (blue - red) / chroma : 4 + (red - green) / chroma;
  return (sixth * 60 + 360) % 360;
}
