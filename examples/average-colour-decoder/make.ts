import { argv, stdout } from 'node:process';
import { VqganGridDecoder, writeAverageColourDecoder } from '@clip-gen/vqgan-decoder';

const [model = 'models/emoji', out = 'out/average-colour'] = argv.slice(2);
const decoder = await VqganGridDecoder.open(model, {});
try {
  stdout.write(`${await writeAverageColourDecoder(decoder, out)}\n`);
} finally {
  await decoder.close();
}
