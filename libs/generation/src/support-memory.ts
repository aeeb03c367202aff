import { stat } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { openSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';

/** Of a GPT's folder, beside its weights; optional. */
export const SUPPORT_FILE = 'support.safetensors';
const ROWS = 'embeddings';
const MAX_ROWS = 1 << 20;
const MAX_BYTES = 1 << 29;
/** Weights of a stripe: some milliseconds. */
const STRIPE = 1 << 22;
const MAX_TEMPERATURE = 10;
const MAX_NEIGHBOURS = 1024;

/** How an embedding is moved among the remembered ones. */
export interface SupportOptions {
  /** τ of the softmax over cosines, in (0, 10]; small: the nearest alone, large: the mean of the neighbours. */
  readonly temperature: number;
  /** Nearest rows that take part, in [1, 1024]. */
  readonly neighbours: number;
}

/**
 * Image embeddings that a GPT learned from. A CLIP's text embeddings lie apart from its image embeddings, where a GPT
 * that saw images alone has never been; `project` carries one over: the softmax-weighted mean of the nearest image
 * embeddings, as DeCap does for captions (Li et al., arXiv 2303.03032, section 3.3). No captions are needed for it.
 */
export class SupportMemory {
  private constructor(
    private readonly rows: Int8Array,
    /** 1 / ‖row‖. */
    private readonly inverseNorms: Float64Array,
    readonly width: number,
    readonly options: SupportOptions,
  ) {}

  /**
   * @param rows int8 (N, E), row after row; each stands for the unit vector in its direction; taken over, not copied
   * @param width E
   * @throws invalid_argument for rows that are no whole number of vectors, one of zeros, or an option out of bounds
   */
  static async of(rows: Int8Array, width: number, options: SupportOptions): Promise<SupportMemory> {
    checkOptions(options);
    const count = rows.length / width;
    if (!Number.isInteger(count) || count < 1) throw invalidArgument('rows', `whole vectors of ${width}`, rows.length);
    const inverseNorms = new Float64Array(count);
    await inStripes(count, width, (from, to) => {
      for (let i = from; i < to; i++) {
        let sum = 0;
        for (let k = i * width; k < (i + 1) * width; k++) sum += rows[k]! * rows[k]!;
        if (sum === 0) throw invalidArgument(`rows[${i}]`, 'of a length other than 0', 0);
        inverseNorms[i] = 1 / Math.sqrt(sum);
      }
    });
    return new SupportMemory(rows, inverseNorms, width, options);
  }

  /** Rows N. */
  get size(): number {
    return this.inverseNorms.length;
  }

  /**
   * A search of all rows, in stripes of some milliseconds between which the event loop goes on.
   *
   * @param embedding float32 (E), of unit length; unchanged until the promise settles
   * @returns float32 (E), of unit length
   * @throws cancelled when `signal` aborts before the end
   */
  async project(embedding: Float32Array, signal?: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
    const nearest = await this.#nearest(embedding, signal);
    const best = nearest[0]!.cosine;
    const mean = new Float64Array(this.width);
    for (const { row, cosine } of nearest) {
      const weight = Math.exp((cosine - best) / this.options.temperature) * this.inverseNorms[row]!;
      for (let k = 0; k < this.width; k++) mean[k]! += weight * this.rows[row * this.width + k]!;
    }
    const length = Math.hypot(...mean);
    // Opposite neighbours of equal weight cancel out; the nearest stands for them then.
    if (length < 1e-9) return Float32Array.from(mean, (_, k) => this.#unit(nearest[0]!.row, k));
    return Float32Array.from(mean, (value) => value / length);
  }

  /** The nearest rows, nearest first; of equally near ones the first. */
  async #nearest(embedding: Float32Array, signal: AbortSignal | undefined): Promise<Neighbour[]> {
    const nearest: Neighbour[] = [];
    await inStripes(this.size, this.width, (from, to) => this.#search(embedding, from, to, nearest), signal);
    return nearest;
  }

  /** Puts what is nearer of rows `from` to before `to` among the nearest so far. */
  #search(embedding: Float32Array, from: number, to: number, nearest: Neighbour[]): void {
    const { rows, width } = this;
    const { neighbours } = this.options;
    for (let row = from; row < to; row++) {
      let dot = 0;
      const start = row * width;
      for (let k = 0; k < width; k++) dot += rows[start + k]! * embedding[k]!;
      const cosine = dot * this.inverseNorms[row]!;
      if (nearest.length === neighbours) {
        if (cosine <= nearest[neighbours - 1]!.cosine) continue;
        nearest.pop();
      }
      let at = nearest.length;
      while (at > 0 && nearest[at - 1]!.cosine < cosine) at--;
      nearest.splice(at, 0, { row, cosine });
    }
  }

  #unit(row: number, k: number): number {
    return this.rows[row * this.width + k]! * this.inverseNorms[row]!;
  }

  /**
   * Reads a support file.
   *
   * @param width E of the GPT beside it
   * @returns nothing when there is no such file
   * @throws data_corrupt, naming the file, for anything but int8 (N, E) with its options; resource_exhausted for more than
   * 2^20 rows or 512 MiB, before they are read
   */
  static async open(path: string, width: number): Promise<SupportMemory | undefined> {
    if ((await stat(path).catch(() => undefined)) === undefined) return undefined;
    const file = await openSafetensors(path);
    try {
      const entry = file.entries.get(ROWS);
      const [count = 0, columns] = entry?.shape ?? [];
      if (entry?.dtype !== 'int8' || entry.shape.length !== 2 || columns !== width || count < 1) {
        const got = entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'none';
        throw new ClipGenError('data_corrupt', `${path} must hold ${ROWS} of int8 [N, ${width}]; got ${got}`);
      }
      const most = mostRows(width);
      if (count > most) {
        const problem = `must have at most ${most} rows, for every prompt is held against each; got ${count}`;
        throw new ClipGenError('resource_exhausted', `${path} ${problem}; train with a smaller support.rows`);
      }
      const options = {
        temperature: Number(file.metadata.get('temperature')),
        neighbours: Number(file.metadata.get('neighbours')),
      };
      return await SupportMemory.of((await file.read(ROWS)).data as Int8Array, width, options);
    } catch (cause) {
      if (!(cause instanceof ClipGenError) || cause.code !== 'invalid_argument') throw cause;
      throw new ClipGenError('data_corrupt', `${path}: ${cause.message}`, { cause });
    } finally {
      await file.close();
    }
  }
}

interface Neighbour {
  readonly row: number;
  readonly cosine: number;
}

/** What a support file holds, as `writeSafetensors` takes it. */
export interface SupportTable {
  readonly tensors: readonly (readonly [string, Tensor])[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * What {@link SupportMemory.open} reads: rows in 8 bits each.
 *
 * @param embeddings float32 (N, E), row after row, none of zeros; N at most 2^20, N · E at most 2^29
 * @throws invalid_argument for an option out of bounds or rows that cannot be kept
 */
export function supportTable(embeddings: Float32Array, width: number, options: SupportOptions): SupportTable {
  checkOptions(options);
  const count = embeddings.length / width;
  if (!Number.isInteger(count) || count < 1 || count > mostRows(width)) {
    throw invalidArgument('embeddings', `[1, ${mostRows(width)}] whole vectors of ${width}`, embeddings.length);
  }
  const rows = new Int8Array(embeddings.length);
  for (let start = 0; start < rows.length; start += width) {
    const row = embeddings.subarray(start, start + width);
    const most = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (!(most > 0)) throw invalidArgument(`embeddings[${start / width}]`, 'of a length other than 0', most);
    rows.set(
      row.map((value) => Math.round((127 * value) / most)),
      start,
    );
  }
  const metadata = { temperature: String(options.temperature), neighbours: String(options.neighbours) };
  return { tensors: [[ROWS, tensor('int8', [count, width], rows)]], metadata };
}

/** Most rows of a file. */
const mostRows = (width: number): number => Math.min(MAX_ROWS, Math.floor(MAX_BYTES / width));

/** Does `work` for all rows, some at a time; between two times the event loop goes on. */
async function inStripes(
  count: number,
  width: number,
  work: (from: number, to: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const rows = Math.max(1, Math.floor(STRIPE / width));
  for (let from = 0; from < count; from += rows) {
    if (from > 0) await setImmediate();
    if (signal?.aborted) throw new ClipGenError('cancelled', 'the search was cancelled', { cause: signal.reason });
    work(from, Math.min(count, from + rows));
  }
}

function checkOptions({ temperature, neighbours }: SupportOptions): void {
  if (!(temperature > 0 && temperature <= MAX_TEMPERATURE)) {
    throw invalidArgument('temperature', `in (0, ${MAX_TEMPERATURE}]`, temperature);
  }
  if (!Number.isInteger(neighbours) || neighbours < 1 || neighbours > MAX_NEIGHBOURS) {
    throw invalidArgument('neighbours', `an integer in [1, ${MAX_NEIGHBOURS}]`, neighbours);
  }
}
