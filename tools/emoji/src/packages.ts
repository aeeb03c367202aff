import { readFileSync } from 'node:fs';
import { ClipGenError } from '@clip-gen/errors';

const MODULES = new URL('../node_modules/', import.meta.url);

/**
 * Parse a JSON file of an installed package.
 *
 * @param name the package's name on the npm registry
 * @param file path inside the package
 * @throws ClipGenError `failed_precondition` when the package is not installed, `data_corrupt` when it is not JSON
 */
export function readPackageJson<T>(name: string, file: string): T {
  let text: string;
  try {
    text = readFileSync(new URL(`${name}/${file}`, MODULES), 'utf8');
  } catch (cause) {
    throw new ClipGenError(
      'failed_precondition',
      `${name}/${file} is not installed; run: npm ci --prefix tools/emoji`,
      { cause },
    );
  }
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${name}/${file} is not JSON; run: npm ci --prefix tools/emoji`, { cause });
  }
}
