import { invalidArgument } from '@clip-gen/errors';
import type { SessionOptions } from './session.ts';
import { defaultThreads } from './threads.ts';

/** Session options with every default filled in. */
export interface ResolvedOptions {
  readonly provider: 'cpu' | 'webgpu' | 'cuda';
  readonly threads: number;
  readonly optimization: 'all' | 'extended' | 'basic' | 'none';
  readonly profilePrefix: string | undefined;
  /** ONNX Runtime's own key-value settings (onnxruntime_session_options_config_keys.h). */
  readonly configEntries: Readonly<Record<string, string>>;
}

const MAX_THREADS = 1024;

/** @throws invalid_argument for a value out of bounds */
export function resolveOptions(options: SessionOptions): ResolvedOptions {
  const { provider = 'cpu', optimization = 'all', threads = defaultThreads(), spin = false } = options;
  oneOf('provider', provider, ['cpu', 'webgpu', 'cuda']);
  oneOf('optimization', optimization, ['all', 'extended', 'basic', 'none']);
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw invalidArgument('threads', `an integer in [1, ${MAX_THREADS}]`, threads);
  }
  const configEntries: Record<string, string> = { 'session.intra_op.allow_spinning': spin ? '1' : '0' };
  if (options.externalDataFolder !== undefined) {
    configEntries['session.model_external_initializers_file_folder_path'] = options.externalDataFolder;
  }
  return { provider, threads, optimization, profilePrefix: options.profilePrefix, configEntries };
}

/** @throws invalid_argument when `value` is not in `values` */
export function oneOf(argument: string, value: string, values: readonly string[]): void {
  if (!values.includes(value)) throw invalidArgument(argument, `one of ${values.join(', ')}`, value);
}
