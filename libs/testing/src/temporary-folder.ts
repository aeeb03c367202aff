import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const made: string[] = [];

/** Removes the folders made so far; called after a spec file's last test. */
export async function removeTemporaryFolders(): Promise<void> {
  for (const path of made.splice(0)) await rm(path, { recursive: true, force: true });
}

// Registered while the spec file is collected, so it also covers folders made in beforeAll.
afterAll(removeTemporaryFolders);

/** Makes an empty folder of the calling spec file's own, removed with all in it after that file's last test. */
export async function temporaryFolder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'clip-gen-'));
  made.push(path);
  return path;
}
