import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import {
  encodeModel,
  type BlockFormat,
  type ExternalLocation,
  type GraphBuilder,
  type QuantizedLocation,
} from '@clip-gen/graph';
import type { ParameterSpec } from '@clip-gen/nn';
import { blockFormatSchema, blocksForm, quantizedLocation, type StoredTensor } from '@clip-gen/quantization';
import { createSession, type Session, type SessionOptions } from '@clip-gen/runtime';
import { openSafetensors, type TensorEntry } from '@clip-gen/safetensors';
import type { DType } from '@clip-gen/tensor';
import { z } from 'zod';

/** How a model's sessions are made; see `SessionOptions`. */
export type EngineOptions = Pick<SessionOptions, 'backend' | 'provider' | 'threads' | 'optimization' | 'spin'>;

/** One network of a model on disk, `config.json` beside `model.safetensors`, checked against each other. */
export interface ModelPart<C> {
  /** Absolute. */
  readonly folder: string;
  readonly config: C;
  /** Where each weight lies in `model.safetensors`. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** How the matrices of linear layers are stored, when it is as integers in blocks. */
  readonly quantization?: BlockFormat | undefined;
}

const CONFIG_FILE = 'config.json';
/** Of every part, beside its `config.json`. */
export const WEIGHTS_FILE = 'model.safetensors';
const MAX_CONFIG_BYTES = 1 << 20;
/** Names in one message. */
const SHOWN = 4;

/** What a network's graphs ask for. */
export interface PartContents<C> {
  /** Every weight that one of the network's graphs uses; a name may come twice. */
  readonly parameters: (config: C) => readonly ParameterSpec[];
  /** Layers, one after the other, that the configuration asks for: each has a weight at least. */
  readonly layers?: (config: C) => number;
  /** What reference checkpoints hold besides, such as masks: may be there and is not used. */
  readonly unused?: RegExp;
}

/**
 * Reads the configuration and the header of the weights, and holds the weights' names and shapes against what the
 * network asks for. Reads no weights.
 *
 * @throws not_found when a file is missing; data_corrupt when one is not what it must be; failed_precondition when the
 * weights are those of another network, naming the missing, unexpected and misshapen
 */
export async function openModelPart<S extends z.ZodType>(
  folder: string,
  schema: S,
  contents: PartContents<z.output<S>>,
): Promise<ModelPart<z.output<S>>> {
  const path = resolve(folder);
  const configPath = join(path, CONFIG_FILE);
  const text = await readText(configPath, MAX_CONFIG_BYTES);
  const { quantization } = parseConfig(configPath, text, storageSchema);
  const config = parseConfig(configPath, text, z.preprocess(withoutStorage, schema));
  const file = await openSafetensors(join(path, WEIGHTS_FILE));
  await file.close();
  const layers = contents.layers?.(config) ?? 0;
  if (layers > file.entries.size) {
    const holds = `${file.path} holds ${file.entries.size} tensors, too few for the ${layers} layers`;
    throw new ClipGenError('failed_precondition', `${holds} of its ${CONFIG_FILE}; take both from the same model`);
  }
  let specs: readonly ParameterSpec[];
  try {
    specs = contents.parameters(config);
  } catch (cause) {
    if (!(cause instanceof ClipGenError)) throw cause;
    throw new ClipGenError('data_corrupt', `${configPath}: the sizes do not fit together: ${cause.message}`, { cause });
  }
  checkParameters(file.path, specs, file.entries, { unused: contents.unused, quantization });
  return { folder: path, config, entries: file.entries, quantization };
}

/** What a `config.json` says besides the network's sizes: how its weights are stored. */
const storageSchema = z.looseObject({ quantization: blockFormatSchema.optional() });

function withoutStorage(config: unknown): unknown {
  if (typeof config !== 'object' || config === null) return config;
  return Object.fromEntries(Object.entries(config).filter(([key]) => key !== 'quantization'));
}

/** What a session of one network is made with besides. */
export type PartSessionOptions = Pick<SessionOptions, 'memoryPattern' | 'profilePrefix'>;

/** A session of a graph whose parameters are weights of the part; they are mapped from its file, not copied. */
export function createPartSession(
  part: ModelPart<unknown>,
  graph: GraphBuilder,
  engine: EngineOptions,
  options: PartSessionOptions = {},
): Promise<Session> {
  const model = encodeModel(graph, { parameters: (name) => weightLocation(part, name) });
  return createSession(model, { ...engine, ...options, externalDataFolder: part.folder });
}

/** Where the bytes of a weight lie, for a model whose folder of external data is the part's. */
export function weightLocation(
  { entries, quantization }: ModelPart<unknown>,
  name: string,
): ExternalLocation | QuantizedLocation {
  const blocks = quantization && quantizedLocation(WEIGHTS_FILE, entries, name, quantization);
  if (blocks) return blocks;
  const { dtype, byteOffset, byteLength } = entries.get(name)!;
  return { file: WEIGHTS_FILE, byteOffset, byteLength, dtype: dtype === 'float16' ? 'float16' : 'float32' };
}

/** What to do when a file of a model is missing. */
const NO_MODEL = 'train the model first (clip-gen train --help), or name another folder';

/** The whole of a text file. @throws not_found; resource_exhausted past `maxBytes`; data_corrupt when it is not UTF-8 */
export async function readText(path: string, maxBytes: number): Promise<string> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') {
      throw new ClipGenError('not_found', `${path} does not exist; ${NO_MODEL}`, { cause });
    }
    throw new ClipGenError('failed_precondition', `${path} cannot be read (${describe(cause)})`, { cause });
  });
  try {
    const { size } = await file.stat();
    if (size > maxBytes) {
      throw new ClipGenError('resource_exhausted', `${path} must have at most ${maxBytes} bytes; got ${size}`);
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile());
  } catch (cause) {
    if (cause instanceof ClipGenError) throw cause;
    throw new ClipGenError('data_corrupt', `${path} cannot be read as text (${describe(cause)})`, { cause });
  } finally {
    await file.close();
  }
}

/**
 * The JSON text of a file as its schema has it.
 *
 * @param what what the file is called when it is none, after "is no"
 * @throws data_corrupt naming the file and the first few fields that do not fit
 */
export function parseConfig<S extends z.ZodType>(
  path: string,
  text: string,
  schema: S,
  what = 'configuration of this network',
): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ClipGenError('data_corrupt', `${path} must be JSON: ${describe(cause)}`, { cause });
  }
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, SHOWN).map(({ path: at, message, input }) => {
    const got = typeof input === 'number' ? `; got ${input}` : '';
    return at.length === 0 ? message : `${at.join('.')}: ${message}${got}`;
  });
  throw new ClipGenError('data_corrupt', `${path} is no ${what}: ${issues.join('; ')}`, {
    cause: parsed.error,
  });
}

const FLOATS: readonly DType[] = ['float32', 'float16'];

function checkParameters(
  path: string,
  specs: readonly ParameterSpec[],
  entries: ReadonlyMap<string, TensorEntry>,
  { unused, quantization }: { readonly unused?: RegExp; readonly quantization?: BlockFormat },
): void {
  const known = new Map<string, StoredTensor>();
  for (const { name, shape } of specs) {
    const forms = quantization && blocksForm(entries, { name, shape }, quantization);
    for (const form of forms ?? [{ name, shape, dtypes: FLOATS }]) known.set(form.name, form);
  }
  const missing = [...known.keys()].filter((name) => !entries.has(name));
  const unexpected = [...entries.keys()].filter((name) => !known.has(name) && !unused?.test(name));
  const misshapen = [...known.values()].flatMap(({ name, shape, dtypes }) => {
    const entry = entries.get(name);
    if (!entry) return [];
    if (dtypes.includes(entry.dtype) && entry.shape.join() === shape.join()) return [];
    const wanted = `${dtypes.join(' or ')} [${shape.join(', ')}]`;
    return [`${name} must be ${wanted}, is ${entry.dtype} [${entry.shape.join(', ')}]`];
  });
  const problems = [
    missing.length > 0 ? `lacks ${listed(missing)}` : '',
    unexpected.length > 0 ? `has unexpected ${listed(unexpected)}` : '',
    misshapen.length > 0 ? listed(misshapen) : '',
  ].filter((problem) => problem !== '');
  if (problems.length === 0) return;
  throw new ClipGenError(
    'failed_precondition',
    `${path} does not fit its ${CONFIG_FILE}: ${problems.join('; ')}; take both from the same model`,
  );
}

function listed(names: readonly string[]): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return names.slice(0, SHOWN).join(', ') + more;
}

function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return 'code' in cause ? String(cause.code) : (cause.message.split('\n')[0] ?? cause.name);
}
