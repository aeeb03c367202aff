import { ClipGenError } from '@clip-gen/errors';
import koffi from 'koffi';
import type { ResolvedOptions } from '../options.ts';
import type { Pointer } from './function-table.ts';
import type { OrtLibrary } from './library.ts';
import { cell, check } from './status.ts';

const OPTIMIZATION_LEVELS = { none: 0, basic: 1, extended: 2, all: 99 } as const; // enum GraphOptimizationLevel

/** An `OrtSessionOptions *`; free it with `releaseSessionOptions`. */
export function createSessionOptions(library: OrtLibrary, options: ResolvedOptions): Pointer {
  const { api } = library;
  check(api, api.createSessionOptions(cell.address));
  const native = cell.pointer();
  try {
    check(api, api.setIntraOpNumThreads(native, options.threads));
    check(api, api.setSessionGraphOptimizationLevel(native, OPTIMIZATION_LEVELS[options.optimization]));
    for (const [key, value] of Object.entries(options.configEntries)) {
      check(api, api.addSessionConfigEntry(native, key, value));
    }
    if (options.profilePrefix !== undefined) check(api, api.enableProfiling(native, options.profilePrefix));
    if (options.provider !== 'cpu') appendProvider(library, native, options.provider);
    return native;
  } catch (error) {
    api.releaseSessionOptions(native);
    throw error;
  }
}

function appendProvider(library: OrtLibrary, native: Pointer, provider: 'webgpu' | 'cuda'): void {
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
    if (provider === 'webgpu') check(api, api.appendExecutionProvider(native, 'WebGPU', null, null, 0));
    else appendCuda(library, native);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ClipGenError('unavailable', `provider ${provider} does not start: ${reason}`, { cause: error });
  }
}

function appendCuda({ api }: OrtLibrary, native: Pointer): void {
  check(api, api.createCudaProviderOptions(cell.address));
  const cuda = cell.pointer();
  try {
    check(api, api.appendExecutionProviderCuda(native, cuda));
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
