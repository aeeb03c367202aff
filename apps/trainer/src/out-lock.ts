import { randomUUID } from 'node:crypto';
import { link, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { z } from 'zod';
import { readText } from './read-text.ts';

const LOCK = 'training.lock';

const holderSchema = z.strictObject({ pid: z.int().min(1), host: z.string(), run: z.string() });
type Holder = z.infer<typeof holderSchema>;

/** Tells this process from an earlier one with its number, as containers have them. */
const RUN = randomUUID();

/** One training at a time in a folder: the file `training.lock` names the process that has it. */
export class OutLock {
  private constructor(
    readonly folder: string,
    readonly path: string,
  ) {}

  /**
   * Takes the folder, which must exist, and removes what an interrupted write left in it. The lock of a process that
   * has ended is taken over.
   *
   * @throws failed_precondition, with the process number, while another training has it
   */
  static async acquire(folder: string): Promise<OutLock> {
    const path = join(folder, LOCK);
    const own = `${path}.${process.pid}.tmp`;
    await writeFile(own, `${JSON.stringify({ pid: process.pid, host: hostname(), run: RUN } satisfies Holder)}\n`);
    try {
      if (!(await linked(own, path))) {
        await OutLock.check(folder);
        await removeStale(path);
        if (!(await linked(own, path))) throw held(path, await holderOf(path));
      }
    } finally {
      await rm(own, { force: true });
    }
    const lock = new OutLock(folder, path);
    await lock.#sweep();
    return lock;
  }

  /** Changes nothing. @throws failed_precondition while a training has the folder, also one that does not exist */
  static async check(folder: string): Promise<void> {
    const path = join(folder, LOCK);
    const holder = await holderOf(path);
    if (holder && isRunning(holder)) throw held(path, holder);
  }

  async release(): Promise<void> {
    await rm(this.path, { force: true });
  }

  /** Temporary files of writes that did not end; nobody else writes here. */
  async #sweep(): Promise<void> {
    for (const folder of [this.folder, join(this.folder, 'best'), join(this.folder, 'cache')]) {
      for (const name of await readdir(folder).catch(() => [])) {
        if (TEMPORARY.test(name)) await rm(join(folder, name), { force: true });
      }
    }
  }
}

const TEMPORARY = /^\.?(model|tokens-[0-9a-f]+|config|tokenizer|training)\..*\.tmp$/;

/** Makes the lock whole at once, so that nobody reads half of it. @returns false when there is one */
async function linked(own: string, path: string): Promise<boolean> {
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Moves the lock away and looks again: between two looks another training may have taken it. */
async function removeStale(path: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale.tmp`;
  await rename(path, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  const holder = await holderOf(aside);
  if (holder && isRunning(holder)) await linked(aside, path);
  await rm(aside, { force: true });
}

/** None when there is no lock, or one that names nobody. */
async function holderOf(path: string): Promise<Holder | undefined> {
  try {
    return holderSchema.safeParse(JSON.parse(await readText(path))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    if (error instanceof ClipGenError && error.code !== 'failed_precondition') return undefined;
    throw error;
  }
}

/** On another machine there is no way to know: then it is. */
function isRunning({ pid, host, run }: Holder): boolean {
  if (host !== hostname()) return true;
  if (pid === process.pid) return run === RUN;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function held(path: string, holder: Holder | undefined): ClipGenError {
  const who = holder
    ? `process ${holder.pid}${holder.host === hostname() ? '' : ` on ${holder.host}`}`
    : 'another process';
  return new ClipGenError(
    'failed_precondition',
    `--out is in use by ${who}: wait for it or choose another --out; if that is no training, delete ${path}`,
  );
}
