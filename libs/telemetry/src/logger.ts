import { pino, stdTimeFunctions, type Logger as PinoLogger } from 'pino';
import { prettyLine } from './pretty-line.ts';
import { currentRequestId } from './request-id.ts';

/** Writes one line of JSON for each event: `log.info({ tokens: 16 }, 'sampled')`. */
export type Logger = PinoLogger;

/** From the loudest to the quietest. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How logs are written. */
export interface LoggerOptions {
  /** Named in every line. */
  readonly service: string;
  /** The least urgent that is written. Default `info`. */
  readonly level?: LogLevel;
  /** `json` for machines, `pretty` for a person at a terminal. Default `json`. */
  readonly format?: 'json' | 'pretty';
  /** Takes whole lines with their line feed. Default standard output. */
  readonly destination?: { write(line: string): unknown };
}

/**
 * A logger that adds service, time (ISO 8601, UTC) and, inside `withRequestId`, `requestId` to every line. Errors go under
 * `err`: `log.error({ err }, 'cannot load')`.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { service, level = 'info', format = 'json', destination = process.stdout } = options;
  return pino(
    {
      level,
      base: { service },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin() {
        const requestId = currentRequestId();
        return requestId === undefined ? {} : { requestId };
      },
    },
    format === 'json' ? destination : { write: (line) => destination.write(prettyLine(line)) },
  );
}
