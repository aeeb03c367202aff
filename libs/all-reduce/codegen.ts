// Compiles src/kernel/kernels.wat into src/generated/. Alone: node --import tsx libs/all-reduce/codegen.ts
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ClipGenError } from '@clip-gen/errors';
import wabt from 'wabt';

const ROOT = new URL('../../', import.meta.url);
const SOURCE = 'libs/all-reduce/src/kernel/kernels.wat';

/** The folder of the generated files, from the repository's root. */
export const folder = 'libs/all-reduce/src/generated';

/** The generated files: path inside `folder` → bytes. The same source gives the same bytes. Writes nothing. */
export async function generate(): Promise<Map<string, Uint8Array>> {
  const { parseWat } = await wabt();
  const source = inlined(expanded(await readFile(new URL(SOURCE, ROOT), 'utf8')));
  const module = parseWat(SOURCE, source, { simd: true, threads: true, bulk_memory: true });
  try {
    module.resolveNames(); // wabt's validate() refuses shared memory; the tests compile and run every function
    const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
    const text =
      `// Generated from ${SOURCE} by libs/all-reduce/codegen.ts. Do not edit.\n` +
      `/** The WebAssembly module, base64. */\nexport const KERNELS_WASM =\n  '${base64}';\n`;
    return new Map([['kernels.ts', Buffer.from(text)]]);
  } finally {
    module.destroy();
  }
}

/**
 * One expansion: what stands between `;; @each NAME in a b` and `;; @end` is written once for each word, which takes the
 * place of `@NAME`.
 */
function expanded(wat: string): string {
  return wat.replace(/;; @each (\w+) in ([^\n]+)\n(.*?);; @end\n/gs, (_, name: string, words: string, body: string) =>
    words
      .trim()
      .split(/\s+/)
      .map((word) => body.replaceAll(`@${name}`, word))
      .join(''),
  );
}

/** A function of one v128 marked `;; @inline`: name, parameter, local variables, body. */
const INLINE =
  / *;; @inline\n *\(func \$(\w+) \(param \$(\w+) v128\) \(result v128\)\n(?: *\(local [^\n]*\n)?(.*?)\)\n\n/gs;

/** Puts bodies in the place of calls: the argument is kept in a local variable of the parameter's name. */
function inlined(wat: string): string {
  const bodies = new Map<string, { parameter: string; body: string }>();
  let text = wat.replace(INLINE, (_, name: string, parameter: string, body: string) => {
    bodies.set(name, { parameter, body });
    return '';
  });
  for (const [name, { parameter, body }] of bodies) {
    const call = `(call $${name} `;
    for (let start = text.indexOf(call); start >= 0; start = text.indexOf(call)) {
      const end = closingBracket(text, start);
      const argument = text.slice(start + call.length, end);
      const block = `(block (result v128) (local.set $${parameter} ${argument}) ${body})`;
      text = text.slice(0, start) + block + text.slice(end + 1);
    }
  }
  return text;
}

/** Where the bracket that opens at `start` closes. */
function closingBracket(text: string, start: number): number {
  for (let at = start, depth = 0; at < text.length; at++) {
    if (text[at] === '(') depth++;
    if (text[at] === ')' && --depth === 0) return at;
  }
  throw new ClipGenError('internal', `${SOURCE}: a bracket does not close`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const target = new URL(`${folder}/`, ROOT);
  await mkdir(target, { recursive: true });
  for (const [name, bytes] of await generate()) await writeFile(new URL(name, target), bytes);
}
