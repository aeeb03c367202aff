/**
 * Checkpoints of the published sizes with random weights, each made by PyTorch, imported and compared, one at a time:
 *
 *     node --import tsx tools/goldens/compare-checkpoints.ts [CASE ...]
 *
 * Needs PyTorch (CLIP_GEN_PYTHON names a Python that has it) and room for the largest file in the temporary folder.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PYTHON } from '../bench/torch-peer.ts';
import { checkImport } from './checkpoint-agreement.ts';

const TOLERANCE = 1e-4;
const script = fileURLToPath(new URL('foreign.py', import.meta.url));
const python = async (...args: readonly string[]): Promise<string> =>
  (await promisify(execFile)(PYTHON, ['-W', 'ignore', script, ...args])).stdout;

const wanted = process.argv.slice(2);
const names = (await python('--list')).trim().split('\n');
let failed = false;
for (const name of names.filter((each) => wanted.length === 0 || wanted.includes(each))) {
  const folder = await mkdtemp(join(tmpdir(), 'clip-gen-checkpoints-'));
  try {
    await python('--full', folder, name);
    const start = performance.now();
    const checked = await checkImport(join(folder, `${name}.expected.safetensors`), join(folder, 'imported'));
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const good = checked.codes.wrong === 0 && checked.agreements.every(({ relative }) => relative <= TOLERANCE);
    failed ||= !good;
    const figures = checked.agreements.map(({ output, relative }) => `${output} ${relative.toExponential(1)}`);
    const { layout, bytes } = checked.report;
    const { all, other } = checked.codes;
    if (all > 0) figures.push(`${other} of ${all} codes differ`);
    console.log(
      `${good ? 'agrees ' : 'DIFFERS'} ${name}: ${figures.join(', ')}; ` +
        `${(bytes / 2 ** 20).toFixed(0)} MiB, ${layout}, ${seconds} s with one run`,
    );
    for (const note of checked.report.notes) console.log(`        ${note}`);
  } finally {
    await rm(folder, { recursive: true });
  }
}
process.exitCode = failed ? 1 : 0;
