// Compiles src/kernel/kernels.wat into src/generated/. Alone: node --import tsx libs/all-reduce/codegen.ts
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';

const ROOT = new URL('../../', import.meta.url);
const SOURCE = 'libs/all-reduce/src/kernel/kernels.wat';

/** The folder of the generated files, from the repository's root. */
export const folder = 'libs/all-reduce/src/generated';

/** The generated files: path inside `folder` → bytes. The same source gives the same bytes. Writes nothing. */
export async function generate(): Promise<Map<string, Uint8Array>> {
  const { parseWat } = await wabt();
  const source = expanded(await readFile(new URL(SOURCE, ROOT), 'utf8'));
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const target = new URL(`${folder}/`, ROOT);
  await mkdir(target, { recursive: true });
  for (const [name, bytes] of await generate()) await writeFile(new URL(name, target), bytes);
}
