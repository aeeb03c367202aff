import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageDataset } from '@clip-gen/datasets';

/**
 * SHA-256, as hex, of what is made of pictures: their names, sizes and times of change, their side, and what else it
 * depends on.
 *
 * @param root the folder of the pictures
 */
export async function picturesKey(dataset: ImageDataset, root: string, others: readonly unknown[]): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify([...others, dataset.imageSize]));
  for (const file of dataset.files) {
    const found = await stat(join(root, file)).catch(() => undefined);
    key.update(JSON.stringify([file, found?.size, found?.mtimeMs]));
  }
  return key.digest('hex');
}
