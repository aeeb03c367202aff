/**
 * Makes the smallest decoder that can be swapped in: a tile of the VQGAN's average colour for each code, as an ONNX file
 * with its manifest.
 *
 *     node --import tsx tools/average-colour-decoder.ts [MODEL] [OUT]      (default: models/emoji, out/average-colour)
 *     node apps/vqgan-decoder/bin/vqgan-decoder.js --decoder-manifest out/average-colour/decoder.json
 */
import { VqganGridDecoder, writeAverageColourDecoder } from '@clip-gen/vqgan-decoder';

const [model = 'models/emoji', out = 'out/average-colour'] = process.argv.slice(2);
const decoder = await VqganGridDecoder.open(model, {});
try {
  console.log(await writeAverageColourDecoder(decoder, out));
} finally {
  await decoder.close();
}
