import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { IMAGE_EXTENSIONS } from '@clip-gen/image';

/** Most files a folder may hold unless told otherwise. */
export const DEFAULT_MAX_FILES = 10_000_000;

/**
 * The pictures of a folder and its subfolders, by file ending (png, jpg, jpeg, webp; any case). Names that begin with
 * a dot are left out. Links are followed, each real folder once, so a loop of links ends; a link that leads nowhere is
 * left out.
 *
 * @param root the folder
 * @param maxFiles most pictures
 * @returns paths relative to `root`, with forward slashes, in the order of their UTF-16 code units
 * @throws not_found when `root` is not a folder; resource_exhausted past `maxFiles`
 */
export async function scanImageFolder(root: string, maxFiles = DEFAULT_MAX_FILES): Promise<string[]> {
  const rootStat = await stat(root).catch(() => undefined);
  if (!rootStat?.isDirectory()) throw new ClipGenError('not_found', `image folder ${root} does not exist`);
  const files: string[] = [];
  const visited = new Set<string>();
  const waiting = [''];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    const real = await realpath(join(root, folder));
    if (visited.has(real)) continue;
    visited.add(real);
    const entries = await readdir(real, { withFileTypes: true });
    // Sorted so that a folder reached by two names is always found under the same one.
    entries.sort((a, b) => (a.name < b.name ? 1 : -1));
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      const kind = entry.isSymbolicLink() ? await stat(join(root, path)).catch(() => undefined) : entry;
      if (kind?.isDirectory()) waiting.push(path);
      else if (kind?.isFile() && isImageName(entry.name)) {
        files.push(path);
        if (files.length > maxFiles) {
          throw new ClipGenError('resource_exhausted', `image folder ${root} must hold at most ${maxFiles} pictures`);
        }
      }
    }
  }
  return files.sort((a, b) => (a < b ? -1 : 1));
}

function isImageName(name: string): boolean {
  const dot = name.lastIndexOf('.');
  return dot > 0 && IMAGE_EXTENSIONS.includes(name.slice(dot).toLowerCase());
}
