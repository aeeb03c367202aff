import { ClipGenError } from '@clip-gen/errors';
import koffi from 'koffi';
import type { ResolvedOptions } from '../options.ts';
import type { Pointer } from './function-table.ts';
import { callAsync, type OrtLibrary } from './library.ts';
import { cell, check } from './status.ts';

const OPTIMIZATION_LEVELS = { none: 0, basic: 1, extended: 2, all: 99 } as const; // enum GraphOptimizationLevel

/** Whether this thread has given the environment an arena. */
let hasArena = false;

/** An `OrtSessionOptions *`; free it with `releaseSessionOptions`. */
export async function createSessionOptions(library: OrtLibrary, options: ResolvedOptions): Promise<Pointer> {
  const { api } = library;
  check(api, api.createSessionOptions(cell.address));
  const native = cell.pointer();
  try {
    check(api, api.setIntraOpNumThreads(native, options.threads));
    check(api, api.setSessionGraphOptimizationLevel(native, OPTIMIZATION_LEVELS[options.optimization]));
    for (const [key, value] of Object.entries(options.configEntries)) {
      check(api, api.addSessionConfigEntry(native, key, value));
    }
    if (!options.memoryPattern) check(api, api.disableMemPattern(native));
    if (options.sharesMemory) shareMemory(library, native);
    if (options.profilePrefix !== undefined) check(api, api.enableProfiling(native, options.profilePrefix));
    if (options.provider !== 'cpu') await appendProvider(library, native, options.provider);
    return native;
  } catch (error) {
    api.releaseSessionOptions(native);
    throw error;
  }
}

function shareMemory({ api, env, memoryInfo }: OrtLibrary, native: Pointer): void {
  // The environment lends its latest arena to sessions that are made; to register another would begin anew.
  if (!hasArena) check(api, api.createAndRegisterAllocator(env, memoryInfo, null));
  hasArena = true;
  check(api, api.addSessionConfigEntry(native, 'session.use_env_allocators', '1'));
}

async function appendProvider(library: OrtLibrary, native: Pointer, provider: 'webgpu' | 'cuda'): Promise<void> {
  const { api } = library;
  const name = provider === 'webgpu' ? 'WebGpuExecutionProvider' : 'CUDAExecutionProvider';
  const present = availableProviders(library);
  if (!present.includes(name)) {
    throw new ClipGenError(
      'unavailable',
      `provider ${provider} is not in this ONNX Runtime (it has ${present.join(', ')}); use provider cpu`,
    );
  }
  try {
    if (provider === 'cuda') await appendCuda(library, native);
    else check(api, await callAsync(api.appendExecutionProvider, native, 'WebGPU', null, null, 0));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ClipGenError('unavailable', `provider ${provider} does not start: ${reason}`, { cause: error });
  }
}

async function appendCuda({ api }: OrtLibrary, native: Pointer): Promise<void> {
  check(api, api.createCudaProviderOptions(cell.address));
  const cuda = cell.pointer();
  try {
    check(api, await callAsync(api.appendExecutionProviderCuda, native, cuda));
  } finally {
    api.releaseCudaProviderOptions(cuda);
  }
}

/** Names of the execution providers that the library was built with. */
function availableProviders({ api }: OrtLibrary): string[] {
  const count = new Int32Array(1);
  check(api, api.getAvailableProviders(cell.address, koffi.address(count.buffer)));
  const list = cell.pointer();
  const length = count[0] ?? 0;
  try {
    const addresses = new BigUint64Array(koffi.view(list, length * 8).slice(0));
    return Array.from(addresses, (address) => koffi.decode.string(address));
  } finally {
    check(api, api.releaseAvailableProviders(list, length));
  }
}
