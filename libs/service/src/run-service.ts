import {
  asksForHelp,
  describeSettings,
  helpText,
  readSettings,
  type Settings,
  type SettingSources,
  type SettingsOf,
} from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import { onShutdown } from '@clip-gen/serving';
import { createLogger, type Logger } from '@clip-gen/telemetry';
import type { ServiceSettings } from './service-settings.ts';
import type { Running } from './start-service.ts';

/** Exit code of a command line that cannot be used. */
const USAGE_EXIT_CODE = 2;

/** A service as a program. */
export interface ServiceProgram<S extends Settings> {
  readonly settings: S;
  /** What it does, for `--help`. */
  readonly intro: string;
  readonly start: (settings: SettingsOf<S>, deps: { readonly logger: Logger }) => Promise<Running>;
}

/**
 * Runs a service as a process: settings from flags and environment, `--help`, all settings in the first log line, drain
 * on SIGTERM and SIGINT.
 *
 * @returns the exit code when the program ends before it serves; undefined while it serves
 */
export async function runService<S extends Settings>(
  { settings: declared, intro, start }: ServiceProgram<S>,
  sources: SettingSources,
): Promise<number | undefined> {
  const { program } = declared;
  if (asksForHelp(sources.argv)) {
    process.stdout.write(`${helpText(declared, intro)}\n`);
    return 0;
  }
  let settings: SettingsOf<S> & LogSettings;
  try {
    settings = readSettings(declared, sources) as SettingsOf<S> & LogSettings;
  } catch (error) {
    if (!(error instanceof ClipGenError)) throw error;
    process.stderr.write(`${program}: ${error.message}\n`);
    return USAGE_EXIT_CODE;
  }
  const logger = createLogger({ service: program, level: settings.logLevel, format: settings.logFormat });
  logger.info({ settings: describeSettings(declared, settings) }, 'starting');
  try {
    const starting = start(settings, { logger });
    // From the first moment: a signal that comes while models load drains as soon as they are there.
    const stay = onShutdown(async () => (await starting).drain(), { logger });
    await starting.catch((error: unknown) => {
      stay();
      throw error;
    });
    return undefined;
  } catch (error) {
    if (!(error instanceof ClipGenError)) throw error;
    logger.error({ code: error.code, error: error.message }, 'cannot start');
    process.stderr.write(`${program}: ${error.message}\n`); // for who waits for it, beside the log
    return 1;
  }
}

type LogSettings = Pick<ServiceSettings, 'logLevel' | 'logFormat'>;
