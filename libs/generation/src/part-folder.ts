import { access } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Where a network lies when somebody names a model's folder, or the network's own: `folder/<part>` unless `folder` has a
 * `config.json` of its own.
 */
export async function partFolder(folder: string, part: 'clip' | 'gpt' | 'preview' | 'vqgan'): Promise<string> {
  try {
    await access(join(folder, 'config.json'));
    return folder;
  } catch {
    return join(folder, part);
  }
}
