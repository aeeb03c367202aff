import { SYMMETRIC, levelTables, type RgbImage } from '@clip-gen/image';
import type { RandomStream } from '@clip-gen/rng';

/** What happens to a picture in training besides the random crop. Everything is off by default. */
export interface Augmentation {
  /** Mirror half of the pictures. Off by default: letters and directions mean something. */
  readonly flip?: boolean;
  /** Let the crop leave the picture by up to this many pixels on each side; what is outside is white. */
  readonly shiftPixels?: number;
  /** Brightness factor drawn from 1 ± this; in [0, 1]. */
  readonly brightness?: number;
  /** Contrast factor, around the crop's mean grey, drawn from 1 ± this; in [0, 1]. */
  readonly contrast?: number;
  /** Saturation factor drawn from 1 ± this; in [0, 1]. */
  readonly saturation?: number;
}

/** How one picture is cut and coloured. `left` and `top` may lie outside of the picture. */
export interface CropPlan {
  readonly left: number;
  readonly top: number;
  readonly flip: boolean;
  readonly brightness: number;
  readonly contrast: number;
  readonly saturation: number;
}

/** The middle square, colours untouched. */
export function centrePlan(width: number, height: number, size: number): CropPlan {
  const [left, top] = [(width - size) >> 1, (height - size) >> 1];
  return { left, top, flip: false, brightness: 1, contrast: 1, saturation: 1 };
}

/** A random square. Always takes six draws, so that switching one augmentation off leaves the others as they were. */
export function drawPlan(
  width: number,
  height: number,
  size: number,
  augmentation: Augmentation,
  stream: RandomStream,
): CropPlan {
  const { flip = false, shiftPixels = 0, brightness = 0, contrast = 0, saturation = 0 } = augmentation;
  const factor = (spread: number): number => 1 + spread * (2 * stream.uniform() - 1);
  return {
    left: stream.integer(width - size + 2 * shiftPixels + 1) - shiftPixels,
    top: stream.integer(height - size + 2 * shiftPixels + 1) - shiftPixels,
    flip: stream.uniform() < 0.5 && flip,
    brightness: factor(brightness),
    contrast: factor(contrast),
    saturation: factor(saturation),
  };
}

const LEVELS = levelTables(SYMMETRIC)[0];

/**
 * Writes one square of a picture as float32 planes (3, size, size) in −1..1; white outside of the picture.
 *
 * @param image only read
 * @param out receives 3·size² values from `at` on
 */
export function cropPixels(image: RgbImage, size: number, plan: CropPlan, out: Float32Array, at: number): void {
  const { width, height, data } = image;
  const { left, top, flip } = plan;
  const plane = size * size;
  const first = Math.max(0, -left);
  const last = Math.min(size, width - left);
  const step = flip ? -1 : 1;
  if (first > 0 || last < size || top < 0 || top + size > height) out.fill(1, at, at + 3 * plane);
  for (let y = Math.max(0, -top); y < size && top + y < height; y++) {
    let from = ((top + y) * width + left + first) * 3;
    let red = at + y * size + (flip ? size - 1 - first : first);
    for (let x = first; x < last; x++, from += 3, red += step) {
      out[red] = LEVELS[data[from]!]!;
      out[red + plane] = LEVELS[data[from + 1]!]!;
      out[red + 2 * plane] = LEVELS[data[from + 2]!]!;
    }
  }
  if (plan.brightness !== 1 || plan.contrast !== 1 || plan.saturation !== 1) recolour(plan, out, at, plane);
}

/** Brightness, then contrast, then saturation, on −1..1 planes, clamped at the end. */
function recolour(plan: CropPlan, out: Float32Array, at: number, plane: number): void {
  const { brightness, contrast, saturation } = plan;
  const [green, blue] = [plane, 2 * plane];
  let sum = 0;
  for (let i = at; i < at + plane; i++) {
    sum += luma(out[i]!, out[i + green]!, out[i + blue]!);
  }
  // Brightness scales 0..1, that is (v + 1); contrast scales the distance from the mean grey.
  const mean = ((sum / plane + 1) * brightness - 1) * (1 - contrast);
  const scale = brightness * contrast;
  const shift = mean + (brightness - 1) * contrast;
  for (let i = at; i < at + plane; i++) {
    const r = out[i]! * scale + shift;
    const g = out[i + green]! * scale + shift;
    const b = out[i + blue]! * scale + shift;
    const grey = luma(r, g, b) * (1 - saturation);
    out[i] = clamp(r * saturation + grey);
    out[i + green] = clamp(g * saturation + grey);
    out[i + blue] = clamp(b * saturation + grey);
  }
}

/** ITU-R BT.601 luma. */
function luma(r: number, g: number, b: number): number {
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

function clamp(value: number): number {
  return value < -1 ? -1 : value > 1 ? 1 : value;
}
