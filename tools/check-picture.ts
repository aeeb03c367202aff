/**
 * Exits 1 unless the file is a picture that shows something.
 *
 *     node --import tsx tools/check-picture.ts picture.png
 */
import { decodeImage } from '@clip-gen/image';

const path = process.argv[2];
if (path === undefined) {
  console.error('usage: check-picture FILE');
  process.exit(2);
}
const { width, height, data } = await decodeImage(path);
let least = 255;
let most = 0;
for (const level of data) {
  least = Math.min(least, level);
  most = Math.max(most, level);
}
console.log(`${path}: ${width}×${height}, levels ${least} to ${most}`);
// A decoder that has learnt nothing gives a flat or nearly flat picture.
if (most - least < 64) {
  console.error(`${path} must show something; its levels span only ${most - least} of 255`);
  process.exitCode = 1;
}
