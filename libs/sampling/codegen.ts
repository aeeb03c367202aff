// Compiles src/kernels.wat into src/generated/. Alone: node --import tsx libs/sampling/codegen.ts
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';

const ROOT = new URL('../../', import.meta.url);
const SOURCE = 'libs/sampling/src/kernels.wat';

/** The folder of the generated files, from the repository's root. */
export const folder = 'libs/sampling/src/generated';

/** The generated files: path inside `folder` → bytes. The same source gives the same bytes. Writes nothing. */
export async function generate(): Promise<Map<string, Uint8Array>> {
  const { parseWat } = await wabt();
  const module = parseWat(SOURCE, await readFile(new URL(SOURCE, ROOT), 'utf8'), { simd: true });
  try {
    module.resolveNames();
    module.validate();
    const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
    const text =
      `// Generated from ${SOURCE} by libs/sampling/codegen.ts. Do not edit.\n` +
      `/** The WebAssembly module, base64. */\nexport const KERNELS_WASM =\n  '${base64}';\n`;
    return new Map([['kernels.ts', Buffer.from(text)]]);
  } finally {
    module.destroy();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const target = new URL(`${folder}/`, ROOT);
  await mkdir(target, { recursive: true });
  for (const [name, bytes] of await generate()) await writeFile(new URL(name, target), bytes);
}
