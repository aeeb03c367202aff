import { invalidArgument } from '@clip-gen/errors';
import type { SessionOptions } from './session.ts';
import { defaultThreads } from './threads.ts';

/** Session options with every default filled in. */
export interface ResolvedOptions {
  readonly provider: 'cpu' | 'webgpu' | 'cuda';
  readonly threads: number;
  readonly optimization: 'all' | 'extended' | 'basic' | 'none';
  readonly sharesMemory: boolean;
  readonly memoryPattern: boolean;
  readonly profilePrefix: string | undefined;
  /** ONNX Runtime's own key-value settings (onnxruntime_session_options_config_keys.h). */
  readonly configEntries: Readonly<Record<string, string>>;
}

const MAX_THREADS = 1024;
const MAX_SPIN_US = 1_000_000;

/** @throws invalid_argument for a value out of bounds */
export function resolveOptions(options: SessionOptions): ResolvedOptions {
  const {
    provider = 'cpu',
    optimization = 'all',
    threads = defaultThreads(),
    spin = false,
    sharesMemory = false,
    memoryPattern = true,
  } = options;
  oneOf('provider', provider, ['cpu', 'webgpu', 'cuda']);
  oneOf('optimization', optimization, ['all', 'extended', 'basic', 'none']);
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw invalidArgument('threads', `an integer in [1, ${MAX_THREADS}]`, threads);
  }
  if (typeof spin === 'number' && (!Number.isInteger(spin) || spin < 0 || spin > MAX_SPIN_US)) {
    throw invalidArgument('spin', `true, false or an integer of microseconds in [0, ${MAX_SPIN_US}]`, spin);
  }
  const configEntries: Record<string, string> = { 'session.intra_op.allow_spinning': spin ? '1' : '0' };
  if (typeof spin === 'number' && spin > 0) configEntries['session.intra_op.spin_duration_us'] = String(spin);
  if (options.externalDataFolder !== undefined) {
    configEntries['session.model_external_initializers_file_folder_path'] = options.externalDataFolder;
  }
  const { profilePrefix } = options;
  return { provider, threads, optimization, sharesMemory, memoryPattern, profilePrefix, configEntries };
}

/** @throws invalid_argument when `value` is not in `values` */
export function oneOf(argument: string, value: string, values: readonly string[]): void {
  if (!values.includes(value)) throw invalidArgument(argument, `one of ${values.join(', ')}`, value);
}
