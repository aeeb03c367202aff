import { ClipGenError } from '@clip-gen/errors';
import type { BlockFormat } from '@clip-gen/graph';
import {
  toFloat16,
  toFloat32,
  writeSafetensorsFrom,
  type SafetensorsFile,
  type TensorSource,
} from '@clip-gen/safetensors';
import { bytesPerElement, elementCount, tensor } from '@clip-gen/tensor';
import { blockScales, type Matrix, type ScaleChoice } from './block-scales.ts';
import { activationImportance, compensatedRounding } from './compensated-rounding.ts';
import { errorStatistics, relativeError, type ErrorStatistics } from './error-statistics.ts';
import { dequantizeMatrix, roundToScales } from './quantize-matrix.ts';
import { quantizedForm } from './stored-form.ts';

/** What is quantised, and how. */
export interface QuantizeOptions {
  readonly format: BlockFormat;
  /** Names of the weights that become integers: matrices (N, K), float32 or float16. */
  readonly matrices: ReadonlySet<string>;
  /** Default `search`. */
  readonly choice?: ScaleChoice;
  /**
   * Σ xᵀx, float32 (K, K), over examples of what a matrix is multiplied with: weights are then rounded for the least error
   * in the products ({@link compensatedRounding}). Asked once a matrix, by rising name; default: for the least error in the
   * weights. The integers of all matrices stay in memory until they are written.
   */
  readonly gramOf?: (name: string) => Promise<Float32Array>;
  /** Called after each tensor with the weights that have been written, of so many. */
  readonly note?: (done: number, total: number) => void;
  /** Stops the work at the next tensor; no file is left. */
  readonly signal?: AbortSignal;
}

/** What became of the weights. */
export interface QuantizeReport {
  /** Matrices that became integers. */
  readonly matrices: number;
  /** Weights in them. */
  readonly weights: number;
  /** Bytes of all tensors. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** √(Σ (w − ŵ)² / Σ w²) over all those matrices. */
  readonly relativeError: number;
  /** The matrix where it is largest. */
  readonly worst: { readonly name: string; readonly relativeError: number };
}

/**
 * Writes the weights of a network with its matrices as integers in blocks: `NAME.packed` and `NAME.scales` in place of
 * `NAME`. Tables (what else has two dimensions or more) become float16, vectors stay as they are. One matrix is in memory at
 * a time, and all scales.
 *
 * @param source stays open; each matrix is read twice
 * @param path the file, under its own name only when it is whole
 * @throws not_found for a matrix that the file lacks; failed_precondition for one that is not finite or none; cancelled
 */
export async function quantizeWeights(
  source: SafetensorsFile,
  path: string,
  options: QuantizeOptions,
): Promise<QuantizeReport> {
  const { format, matrices, choice, gramOf, signal } = options;
  const scalesOf = new Map<string, Float32Array>();
  const compensated = new Map<string, Uint8Array>();
  const statistics = new Map<string, ErrorStatistics>();
  const sources: TensorSource[] = [];
  let done = 0;
  const step = <T>(count: number, work: () => Promise<T>): (() => Promise<T>) => {
    return async () => {
      if (signal?.aborted) throw new ClipGenError('cancelled', 'quantisation was stopped', { cause: signal.reason });
      const result = await work();
      options.note?.((done += count), total);
      return result;
    };
  };
  for (const name of matrices) if (!source.entries.has(name)) await source.read(name); // throws
  for (const { name, dtype, shape } of source.entries.values()) {
    const count = elementCount(shape);
    if (!matrices.has(name)) {
      const narrow = dtype === 'float32' && shape.length >= 2;
      const load = narrow ? () => readNarrow(source, name) : () => source.read(name);
      sources.push({ name, dtype: narrow ? 'float16' : dtype, shape, load: step(count, load) });
      continue;
    }
    if (shape.length !== 2) throw notMatrix(source.path, name, shape);
    const { packed, scales } = quantizedForm(name, shape as [number, number], format);
    const loadScales = async () => {
      const matrix = await readMatrix(source, name);
      const gram = await gramOf?.(name);
      const found = blockScales(matrix, format, choice, gram && activationImportance(gram, matrix.columns));
      if (gram) compensated.set(name, roundToScales(compensatedRounding(matrix, format, found, gram), format, found));
      scalesOf.set(name, found);
      return tensor('float32', scales.shape, found);
    };
    const loadPacked = async () => {
      const matrix = await readMatrix(source, name);
      const found = scalesOf.get(name)!; // float32 lies before uint8 in a file, so it was asked for before
      const bytes = compensated.get(name) ?? roundToScales(matrix, format, found);
      compensated.delete(name);
      const { rows, columns } = matrix;
      const back = dequantizeMatrix({ rows, columns, format, packed: bytes, scales: found });
      statistics.set(name, errorStatistics(matrix, back));
      return tensor('uint8', packed.shape, bytes);
    };
    sources.push({ name: scales.name, dtype: 'float32', shape: scales.shape, load: step(count / 2, loadScales) });
    sources.push({ name: packed.name, dtype: 'uint8', shape: packed.shape, load: step(count / 2, loadPacked) });
  }
  const total = [...source.entries.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  await writeSafetensorsFrom(path, sources, source.metadata);
  const worst = [...statistics]
    .map(([name, each]) => ({ name, relativeError: relativeError([each]) }))
    .reduce((a, b) => (b.relativeError > a.relativeError ? b : a), { name: '', relativeError: 0 });
  return {
    matrices: statistics.size,
    weights: [...statistics.values()].reduce((sum, { count }) => sum + count, 0),
    bytesBefore: [...source.entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    bytesAfter: sources.reduce((sum, { dtype, shape }) => sum + bytesPerElement(dtype) * elementCount(shape), 0),
    relativeError: relativeError(statistics.values()),
    worst,
  };
}

async function readMatrix(source: SafetensorsFile, name: string): Promise<Matrix> {
  const { shape, data } = toFloat32(await source.read(name));
  const [rows, columns] = shape as [number, number];
  return { rows, columns, data };
}

/** @throws failed_precondition for a number past float16 */
async function readNarrow(source: SafetensorsFile, name: string) {
  const wide = toFloat32(await source.read(name));
  const beyond = wide.data.find((value) => !(Math.abs(value) < 65520));
  if (beyond === undefined) return toFloat16(wide);
  throw new ClipGenError('failed_precondition', `${source.path}: ${name} must be within ±65504; got ${beyond}`);
}

function notMatrix(path: string, name: string, shape: readonly number[]): ClipGenError {
  const message = `${path}: ${name} must be a matrix to be stored in blocks; got [${shape.join(', ')}]`;
  return new ClipGenError('failed_precondition', message);
}
