import { createRequire } from 'node:module';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import koffi from 'koffi';
import { API_VERSION, bindFunctionTable, type NativeFunction, type OrtApi, type Pointer } from './function-table.ts';
import { cell, check } from './status.ts';

/** The loaded library: its functions and the objects that all sessions of this thread share and that live as long as it. */
export interface OrtLibrary {
  readonly api: OrtApi;
  /** `OrtEnv *`; ONNX Runtime keeps one per process and counts its users. */
  readonly env: Pointer;
  /** `OrtMemoryInfo *` of ordinary memory. */
  readonly memoryInfo: Pointer;
  /** `OrtAllocator *` of strings that ONNX Runtime hands out. */
  readonly allocator: Pointer;
}

// koffi runs a native call on a stack of its own, 128 KiB unless told otherwise. A matrix kernel of ONNX Runtime alone puts
// 64 KiB there, graph optimisation recurses: give it what a main thread has. Pages that are not touched cost nothing.
const STACK_BYTES = 8 * 2 ** 20;
const LOG_ERRORS = 3; // OrtLoggingLevel ORT_LOGGING_LEVEL_ERROR
const RTLD_NOW = 2;

/** File name of ONNX Runtime's library on each system that its npm package serves. */
const FILE_NAMES: Partial<Record<NodeJS.Platform, RegExp>> = {
  linux: /^libonnxruntime\.so\.1$/,
  darwin: /^libonnxruntime\.1\.dylib$/,
  win32: /^onnxruntime\.dll$/,
};

let loading: Promise<OrtLibrary> | undefined;

/**
 * Loads the library that the npm package onnxruntime-node ships, once per thread.
 *
 * @throws unavailable when it is not there, does not load or is too old
 */
export function loadLibrary(): Promise<OrtLibrary> {
  loading ??= load().catch((error: unknown) => {
    if (error instanceof ClipGenError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ClipGenError('unavailable', `ONNX Runtime's C API does not load: ${reason}`, { cause: error });
  });
  return loading;
}

/** Path of the library inside onnxruntime-node for this system. */
export function libraryPath(): string {
  const bin = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '..', 'bin');
  const fileName = FILE_NAMES[process.platform];
  for (const napi of readdirSync(bin)) {
    const folder = join(bin, napi, process.platform, process.arch);
    const file = fileName && listed(folder).find((name) => fileName.test(name));
    if (file !== undefined) return join(folder, file);
  }
  throw new ClipGenError('unavailable', `onnxruntime-node has no library for ${process.platform} ${process.arch}`);
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

async function load(): Promise<OrtLibrary> {
  if ((koffi.config().async_stack_size ?? 0) < STACK_BYTES) reserveStacks();
  const path = libraryPath();
  if (process.platform !== 'win32') await openAhead(path);
  const library = koffi.load(path);
  const base = (library.func('OrtGetApiBase', 'void *', []) as unknown as () => Pointer)();
  // struct OrtApiBase { const OrtApi* (*GetApi)(uint32_t); const char* (*GetVersionString)(void); }
  const getApi = koffi.decode(koffi.decode(base, 0, 'void *'), koffi.proto('void *', ['uint32'])) as unknown as (
    version: number,
  ) => Pointer;
  const table = getApi(API_VERSION);
  if (table === null) {
    throw new ClipGenError('unavailable', `onnxruntime-node's library lacks C API version ${API_VERSION}; update it`);
  }
  const api = bindFunctionTable(table);
  const out = new BigUint64Array(1);
  const status = await callAsync(api.createEnv, LOG_ERRORS, 'clip-gen', koffi.address(out.buffer));
  check(api, status);
  const env = out[0] ?? null;
  check(api, api.createCpuMemoryInfo(1, 0, cell.address)); // OrtArenaAllocator, OrtMemTypeDefault
  const memoryInfo = cell.pointer();
  check(api, api.getAllocatorWithDefaultOptions(cell.address));
  return { api, env, memoryInfo, allocator: cell.pointer() };
}

function reserveStacks(): void {
  try {
    koffi.config({ async_stack_size: STACK_BYTES });
  } catch (error) {
    throw new ClipGenError(
      'unavailable',
      `koffi was used before with stacks too small for ONNX Runtime; call koffi.config({ async_stack_size: ${STACK_BYTES} }) before its first use`,
      { cause: error },
    );
  }
}

/** Maps and relocates the file (40 ms) on another thread; opening it again is then immediate. */
async function openAhead(path: string): Promise<void> {
  const open = koffi.load(null).func('dlopen', 'void *', ['str', 'int']) as unknown as NativeFunction<
    [string, number],
    Pointer
  >;
  await callAsync(open, path, RTLD_NOW);
}

/** Calls on a thread of libuv's pool. */
export function callAsync<A extends readonly unknown[], R>(call: NativeFunction<A, R>, ...args: A): Promise<R> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error: Error | null, result: R) => {
      if (error) reject(error);
      else resolve(result);
    });
  });
}
