import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { readSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import { z } from 'zod';
import { hashFile } from './file-hash.ts';
import { describeDifference } from './identity.ts';
import { describeIssues, readText } from './read-text.ts';
import type { StageState } from './stage.ts';

/** The loop's own place. */
const progressSchema = z.strictObject({
  epoch: z.int().min(0),
  stepInEpoch: z.int().min(0),
  globalStep: z.int().min(0),
  bestScore: z.number().nullable(),
});
export type Progress = z.infer<typeof progressSchema>;

const recordSchema = z.strictObject({
  format: z.literal(1),
  stage: z.enum(['clip', 'vqgan', 'gpt', 'preview']),
  /** What must agree for a training to go on: the settings that shape its numbers. */
  identity: z.string(),
  progress: progressSchema,
  notes: z.record(z.string(), z.unknown()),
  /** SHA-256 of state.safetensors. */
  sha256: z.string(),
});

const TENSORS = 'state.safetensors';
const RECORD = 'state.json';
/** Names of folders that are not whole yet begin so. */
const UNFINISHED = '.writing-';

export interface Checkpoint {
  readonly progress: Progress;
  readonly notes: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/**
 * Checkpoints of one training: `latest`, the one before it (`previous`) and `best`, each a folder that is written
 * under a temporary name and renamed when whole.
 */
export class CheckpointFolder {
  constructor(
    readonly path: string,
    readonly stage: z.infer<typeof recordSchema>['stage'],
    readonly identity: string,
  ) {}

  /** Writes `latest`; the former one becomes `previous`. */
  async save(progress: Progress, state: StageState): Promise<void> {
    const fresh = await this.#write(progress, state);
    const latest = join(this.path, 'latest');
    const previous = join(this.path, 'previous');
    if (await exists(latest)) {
      await rm(previous, { recursive: true, force: true });
      await rename(latest, previous);
    }
    await rename(fresh, latest);
  }

  /** Writes `best`. After a crash between the two last lines the epoch is done again, and so is this. */
  async saveBest(progress: Progress, state: StageState): Promise<void> {
    const fresh = await this.#write(progress, state);
    const best = join(this.path, 'best');
    await rm(best, { recursive: true, force: true });
    await rename(fresh, best);
  }

  /**
   * The newest whole checkpoint, or none. A damaged one is named through `warn` and the one before it is used. What an
   * interrupted save left is removed.
   *
   * @param globalStep the one of this step, if it is there
   * @throws failed_precondition when it belongs to another stage or other settings, or cannot be read now
   * @throws data_corrupt when there are checkpoints and none is whole
   */
  async load(warn: (message: string) => void, globalStep?: number): Promise<Checkpoint | undefined> {
    await this.#removeUnfinished();
    let damaged: ClipGenError | undefined;
    for (const name of ['latest', 'previous']) {
      const folder = join(this.path, name);
      if (!(await exists(folder))) continue;
      try {
        const found = await this.#read(folder);
        if (globalStep === undefined || found.progress.globalStep === globalStep) return found;
      } catch (error) {
        if (!(error instanceof ClipGenError) || error.code !== 'data_corrupt') throw error;
        damaged = error;
        warn(`${error.message}; trying the checkpoint before it`);
      }
    }
    if (damaged) {
      throw new ClipGenError('data_corrupt', `no whole checkpoint is left in ${this.path}: delete it to start again`, {
        cause: damaged,
      });
    }
    return undefined;
  }

  async #removeUnfinished(): Promise<void> {
    for (const name of await readdir(this.path).catch(() => [])) {
      if (name.startsWith(UNFINISHED)) await rm(join(this.path, name), { recursive: true, force: true });
    }
  }

  async #write(progress: Progress, state: StageState): Promise<string> {
    const folder = join(this.path, `${UNFINISHED}${process.pid}`);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await writeSafetensors(join(folder, TENSORS), state.tensors);
    const record: z.infer<typeof recordSchema> = {
      format: 1,
      stage: this.stage,
      identity: this.identity,
      progress,
      notes: state.notes,
      sha256: await hashFile(join(folder, TENSORS)),
    };
    const file = await open(join(folder, RECORD), 'w');
    try {
      await file.writeFile(`${JSON.stringify(record, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    return folder;
  }

  async #read(folder: string): Promise<Checkpoint> {
    const damaged = (reason: string, cause?: unknown): ClipGenError =>
      new ClipGenError('data_corrupt', `checkpoint ${folder} is damaged (${reason})`, { cause });
    const record = await readRecord(join(folder, RECORD)).catch((error: unknown) => {
      // What cannot be read now is perhaps whole: an older checkpoint must not take its place.
      if (!(error instanceof ClipGenError) || error.code === 'failed_precondition') throw error;
      throw damaged(error.message, error);
    });
    if (record.stage !== this.stage || record.identity !== this.identity) {
      const difference =
        record.stage === this.stage
          ? `made with ${describeDifference(record.identity, this.identity)}`
          : `one of stage ${record.stage}, not ${this.stage}`;
      throw new ClipGenError(
        'failed_precondition',
        `checkpoint ${folder} is ${difference}: go on with what it was made with, or choose another --out`,
      );
    }
    const path = join(folder, TENSORS);
    try {
      if ((await hashFile(path)) === record.sha256) {
        return { progress: record.progress, notes: record.notes, tensors: await readSafetensors(path) };
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== undefined && UNREADABLE.has(code)) throw unreadable(path, error);
      throw damaged(`${TENSORS} cannot be read`, error);
    }
    throw damaged(`${TENSORS} has another checksum`);
  }
}

/** @throws not_found, data_corrupt, resource_exhausted, failed_precondition */
async function readRecord(path: string): Promise<z.infer<typeof recordSchema>> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${RECORD} must be JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = recordSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ClipGenError('data_corrupt', `${RECORD}: ${describeIssues(parsed.error)}`, { cause: parsed.error });
}

/** Of the system, not of the bytes. */
const UNREADABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EIO', 'EMFILE', 'ENFILE', 'ESTALE']);

function unreadable(path: string, cause: unknown): ClipGenError {
  const { code } = cause as NodeJS.ErrnoException;
  return new ClipGenError('failed_precondition', `${path} cannot be read (${code})`, { cause });
}

/** @throws failed_precondition when that cannot be found out */
async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw unreadable(path, error);
  }
}
