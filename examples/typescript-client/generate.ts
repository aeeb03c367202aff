import { mkdir, writeFile } from 'node:fs/promises';
import process, { argv, stderr, stdout } from 'node:process';
import { ImageGenerationDefinition } from '@clip-gen/contracts';
import { connect } from '@clip-gen/serving';

const [prompt = 'a slice of pizza', gateway = '127.0.0.1:50050', out = 'out/typescript'] = argv.slice(2);
const addresses = [gateway];
const { client, close } = connect(ImageGenerationDefinition, { name: 'gateway', addresses, deadlineMs: 300_000 });
await mkdir(out, { recursive: true });
try {
  for await (const { event } of client.generate({ prompt, n: 2, seed: 7n })) {
    if (event?.$case === 'progress') stdout.write(`\r${event.value.tokens} of ${event.value.tokensTotal} tokens`);
    if (event?.$case !== 'image' || !event.value.image) continue;
    const { rank, score, image } = event.value;
    await writeFile(`${out}/${rank}.png`, image.data);
    stdout.write(`\n${out}/${rank}.png  score ${score.toFixed(3)}`);
  }
  stdout.write('\n');
} catch (error) {
  stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  close();
}
