import { stat } from 'node:fs/promises';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { openSafetensors } from '@clip-gen/safetensors';
import { tensor, type Tensor } from '@clip-gen/tensor';

/** Of a GPT's folder, beside its weights; optional. */
export const SUPPORT_FILE = 'support.safetensors';
const ROWS = 'embeddings';
const MAX_ROWS = 1 << 20;
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
  readonly #rows: Int8Array;
  /** 1 / ‖row‖. */
  readonly #inverseNorms: Float64Array;

  /**
   * @param rows int8 (N, E), row after row; each stands for the unit vector in its direction; taken over, not copied
   * @param width E
   * @throws invalid_argument for rows that are no whole number of vectors, one of zeros, or an option out of bounds
   */
  constructor(
    rows: Int8Array,
    readonly width: number,
    readonly options: SupportOptions,
  ) {
    checkOptions(options);
    const count = rows.length / width;
    if (!Number.isInteger(count) || count < 1) throw invalidArgument('rows', `whole vectors of ${width}`, rows.length);
    this.#rows = rows;
    this.#inverseNorms = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (let k = i * width; k < (i + 1) * width; k++) sum += rows[k]! * rows[k]!;
      if (sum === 0) throw invalidArgument(`rows[${i}]`, 'of a length other than 0', 0);
      this.#inverseNorms[i] = 1 / Math.sqrt(sum);
    }
  }

  /** Rows N. */
  get size(): number {
    return this.#inverseNorms.length;
  }

  /**
   * @param embedding float32 (E), of unit length; not changed
   * @returns float32 (E), of unit length
   */
  project(embedding: Float32Array): Float32Array<ArrayBuffer> {
    const nearest = this.#nearest(embedding);
    const best = nearest[0]!.cosine;
    const mean = new Float64Array(this.width);
    for (const { row, cosine } of nearest) {
      const weight = Math.exp((cosine - best) / this.options.temperature) * this.#inverseNorms[row]!;
      for (let k = 0; k < this.width; k++) mean[k]! += weight * this.#rows[row * this.width + k]!;
    }
    const length = Math.hypot(...mean);
    // Opposite neighbours of equal weight cancel out; the nearest stands for them then.
    if (length < 1e-9) return Float32Array.from(mean, (_, k) => this.#unit(nearest[0]!.row, k));
    return Float32Array.from(mean, (value) => value / length);
  }

  /** The nearest rows, nearest first; of equally near ones the first. */
  #nearest(embedding: Float32Array): Neighbour[] {
    const { width, size } = this;
    const { neighbours } = this.options;
    const nearest: Neighbour[] = [];
    for (let row = 0; row < size; row++) {
      let dot = 0;
      const start = row * width;
      for (let k = 0; k < width; k++) dot += this.#rows[start + k]! * embedding[k]!;
      const cosine = dot * this.#inverseNorms[row]!;
      if (nearest.length === neighbours) {
        if (cosine <= nearest[neighbours - 1]!.cosine) continue;
        nearest.pop();
      }
      let at = nearest.length;
      while (at > 0 && nearest[at - 1]!.cosine < cosine) at--;
      nearest.splice(at, 0, { row, cosine });
    }
    return nearest;
  }

  #unit(row: number, k: number): number {
    return this.#rows[row * this.width + k]! * this.#inverseNorms[row]!;
  }

  /**
   * Reads a support file.
   *
   * @param width E of the GPT beside it
   * @returns nothing when there is no such file
   * @throws data_corrupt, naming the file, for anything but int8 (N, E) with its options, N at most 2^20
   */
  static async open(path: string, width: number): Promise<SupportMemory | undefined> {
    if ((await stat(path).catch(() => undefined)) === undefined) return undefined;
    const file = await openSafetensors(path);
    try {
      const entry = file.entries.get(ROWS);
      const [count = 0, columns] = entry?.shape ?? [];
      if (entry?.dtype !== 'int8' || entry.shape.length !== 2 || columns !== width || count < 1 || count > MAX_ROWS) {
        const got = entry ? `${entry.dtype} [${entry.shape.join(', ')}]` : 'none';
        const wanted = `${ROWS} of int8 [N, ${width}] with N in [1, ${MAX_ROWS}]`;
        throw new ClipGenError('data_corrupt', `${path} must hold ${wanted}; got ${got}`);
      }
      const options = {
        temperature: Number(file.metadata.get('temperature')),
        neighbours: Number(file.metadata.get('neighbours')),
      };
      return new SupportMemory((await file.read(ROWS)).data as Int8Array, width, options);
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
 * @param embeddings float32 (N, E), row after row, none of zeros; N at most 2^20
 * @throws invalid_argument for an option out of bounds or rows that cannot be kept
 */
export function supportTable(embeddings: Float32Array, width: number, options: SupportOptions): SupportTable {
  const rows = new Int8Array(embeddings.length);
  for (let start = 0; start < rows.length; start += width) {
    const row = embeddings.subarray(start, start + width);
    const most = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    rows.set(
      row.map((value) => Math.round((127 * value) / most)),
      start,
    );
  }
  const { size } = new SupportMemory(rows, width, options);
  if (size > MAX_ROWS) throw invalidArgument('embeddings', `at most ${MAX_ROWS} rows`, size);
  const metadata = { temperature: String(options.temperature), neighbours: String(options.neighbours) };
  return { tensors: [[ROWS, tensor('int8', [size, width], rows)]], metadata };
}

function checkOptions({ temperature, neighbours }: SupportOptions): void {
  if (!(temperature > 0 && temperature <= MAX_TEMPERATURE)) {
    throw invalidArgument('temperature', `in (0, ${MAX_TEMPERATURE}]`, temperature);
  }
  if (!Number.isInteger(neighbours) || neighbours < 1 || neighbours > MAX_NEIGHBOURS) {
    throw invalidArgument('neighbours', `an integer in [1, ${MAX_NEIGHBOURS}]`, neighbours);
  }
}
