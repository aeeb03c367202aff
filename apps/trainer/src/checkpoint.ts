import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { readSafetensors, writeSafetensors } from '@clip-gen/safetensors';
import type { Tensor } from '@clip-gen/tensor';
import { z } from 'zod';
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
  stage: z.enum(['clip', 'vqgan', 'gpt']),
  /** What must agree for a training to go on: the settings that shape its numbers. */
  identity: z.string(),
  progress: progressSchema,
  notes: z.record(z.string(), z.unknown()),
  /** SHA-256 of state.safetensors. */
  sha256: z.string(),
});

const TENSORS = 'state.safetensors';
const RECORD = 'state.json';

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

  /** Writes `best`. */
  async saveBest(progress: Progress, state: StageState): Promise<void> {
    const fresh = await this.#write(progress, state);
    const best = join(this.path, 'best');
    await rm(best, { recursive: true, force: true });
    await rename(fresh, best);
  }

  /**
   * The newest whole checkpoint, or none. A damaged one is named through `warn` and the one before it is used.
   *
   * @throws failed_precondition when it belongs to another stage or other settings
   * @throws data_corrupt when there are checkpoints and none is whole
   */
  async load(warn: (message: string) => void): Promise<Checkpoint | undefined> {
    let damaged: ClipGenError | undefined;
    for (const name of ['latest', 'previous']) {
      const folder = join(this.path, name);
      if (!(await exists(folder))) continue;
      try {
        return await this.#read(folder);
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

  async #write(progress: Progress, state: StageState): Promise<string> {
    const folder = join(this.path, `.writing-${process.pid}`);
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
    let record: z.infer<typeof recordSchema>;
    try {
      record = recordSchema.parse(JSON.parse(await readFile(join(folder, RECORD), 'utf8')));
    } catch (error) {
      throw damaged(`${RECORD} cannot be read`, error);
    }
    if (record.stage !== this.stage || record.identity !== this.identity) {
      throw new ClipGenError(
        'failed_precondition',
        `checkpoint ${folder} was made with other settings or data: go on with those, or choose another --out`,
      );
    }
    try {
      if ((await hashFile(join(folder, TENSORS))) !== record.sha256) throw damaged(`${TENSORS} has another checksum`);
      return { progress: record.progress, notes: record.notes, tensors: await readSafetensors(join(folder, TENSORS)) };
    } catch (error) {
      throw error instanceof ClipGenError && error.message.startsWith('checkpoint')
        ? error
        : damaged(`${TENSORS} cannot be read`, error);
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** SHA-256 of a file as hex, read in pieces. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
