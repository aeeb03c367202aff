import { argv, exit, stderr, stdout } from 'node:process';
import { VqganGridDecoder, writeAverageColourDecoder } from '@clip-gen/vqgan-decoder';

const [model = 'models/emoji', out = 'out/average-colour'] = argv.slice(2);
const decoder = await VqganGridDecoder.open(model, {}).catch(leave);
try {
  stdout.write(`${await writeAverageColourDecoder(decoder, out).catch(leave)}\n`);
} finally {
  await decoder.close();
}

/** What went wrong, in the libraries' one line. */
function leave(error: unknown): never {
  stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  exit(1);
}
