/**
 * Exits 1 unless the file is a picture as the emoji model draws them: something, smooth, on white.
 *
 *     node --import tsx tools/check-picture.ts picture.png
 *
 * An untrained decoder does not leave the border white. The picture is looked at in
 * the model's own 64×64 pixels, so that enlarging does not make noise smooth.
 */
import { decodeImage, resizeImage, type RgbImage } from '@clip-gen/image';

const SIDE = 64;
/** A level that passes for white. */
const NEAR_WHITE = 224;

const path = process.argv[2];
if (path === undefined) {
  console.error('usage: check-picture FILE');
  process.exit(2);
}
const picture = await resizeImage(await decodeImage(path), { width: SIDE, height: SIDE }, 'cubic');
const checks: readonly (readonly [string, number, number])[] = [
  ['share of border pixels near white', shareOf(picture, onBorder, isWhite), 0.75],
  ['share of inner pixels that are not white', 1 - shareOf(picture, (x, y) => !onBorder(x, y), isWhite), 0.05],
  ['correlation of neighbours', neighbourCorrelation(picture), 0.7],
];
for (const [name, value, least] of checks) {
  console.log(`${path}: ${name} ${value.toFixed(3)}`);
  if (value >= least) continue;
  console.error(`${path}: ${name} must be at least ${least}; got ${value.toFixed(3)}`);
  process.exitCode = 1;
}

function onBorder(x: number, y: number): boolean {
  return Math.min(x, y, SIDE - 1 - x, SIDE - 1 - y) < 2;
}

function isWhite({ data }: RgbImage, at: number): boolean {
  return Math.min(data[at]!, data[at + 1]!, data[at + 2]!) >= NEAR_WHITE;
}

/** Of the pixels in a region, the share that is `what`. */
function shareOf(
  image: RgbImage,
  region: (x: number, y: number) => boolean,
  what: (image: RgbImage, at: number) => boolean,
): number {
  let all = 0;
  let hits = 0;
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      if (!region(x, y)) continue;
      all++;
      if (what(image, 3 * (y * SIDE + x))) hits++;
    }
  }
  return hits / all;
}

/** Pearson's correlation of each level with the one to its right; 0 for a flat picture. */
function neighbourCorrelation({ data }: RgbImage): number {
  const sums = { n: 0, a: 0, b: 0, aa: 0, bb: 0, ab: 0 };
  for (let i = 0; i < data.length; i += 3) {
    if ((i / 3) % SIDE === SIDE - 1) continue;
    for (let c = i; c < i + 3; c++) {
      const [a, b] = [data[c]!, data[c + 3]!];
      sums.n++;
      sums.a += a;
      sums.b += b;
      sums.aa += a * a;
      sums.bb += b * b;
      sums.ab += a * b;
    }
  }
  const { n, a, b, aa, bb, ab } = sums;
  const spread = Math.sqrt((n * aa - a * a) * (n * bb - b * b));
  return spread > 0 ? (n * ab - a * b) / spread : 0;
}
