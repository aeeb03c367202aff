import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { ClipGenError } from '@clip-gen/errors';
import { createClipTokenizer } from '@clip-gen/tokenizer';

// How many strings of a file are encoded alike: `node --import tsx tools/goldens/compare-tokenizer.ts FILE`, where FILE
// is what `tokenizer.py --out FILE --count N` wrote. Prints each string that differs.

const [file] = process.argv.slice(2);
if (file === undefined) throw new ClipGenError('invalid_argument', 'FILE must be what tokenizer.py --out wrote');
const tokenizer = createClipTokenizer();
const lines = gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n');
let alike = 0;
for (const line of lines) {
  const { text, ids } = JSON.parse(line) as { text: string; ids: number[] };
  const ours = tokenizer.encode(text);
  if (ours.join() === ids.join()) alike++;
  else console.log(JSON.stringify({ text, theirs: ids, ours }));
}
console.log(`${alike} of ${lines.length} alike`);
