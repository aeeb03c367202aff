/**
 * Draws the README's picture: one picture for each of some prompts, side by side.
 *
 *     node --import tsx tools/picture-strip.ts [MODEL] [OUT]      (default: models/emoji, models/emoji/strip.png)
 */
import { writeFile } from 'node:fs/promises';
import { generate, openModel } from '@clip-gen/generation';
import { contactSheet, encodeImage, resizeImage, type RgbImage } from '@clip-gen/image';

const PROMPTS = [
  'a red apple',
  'a slice of pizza',
  'smiling face with sunglasses',
  'a blue car',
  'sunflower',
  'soccer ball',
  'rocket',
  'dog face',
];
const SIDE = 128;

const [folder = 'models/emoji', out = 'models/emoji/strip.png'] = process.argv.slice(2);
const model = await openModel(folder);
const images: RgbImage[] = [];
for (const prompt of PROMPTS) {
  const { pictures } = await generate(model, { prompt, seed: 1 });
  const { image, score, candidate } = pictures[0]!;
  console.log(`${prompt}: score ${score.toFixed(3)}, candidate ${candidate}`);
  images.push(await resizeImage(image, { width: SIDE, height: SIDE }, 'cubic'));
}
await model.close();
const sheet = await contactSheet(images, { columns: PROMPTS.length, gap: 6, labels: PROMPTS });
await writeFile(out, await encodeImage(sheet, { format: 'png' }));
console.log(out);
