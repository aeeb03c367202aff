import { pino, stdTimeFunctions, type Logger as PinoLogger } from 'pino';
import { prettyLine } from './pretty-line.ts';
import { currentRequestId } from './request-id.ts';

/** Writes one line of JSON for each event: `log.info({ tokens: 16 }, 'sampled')`. */
export type Logger = PinoLogger;

/** From the loudest to the quietest. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;
/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `json` for machines, `pretty` for a person at a terminal, `auto` for whoever reads standard output. */
export const LOG_FORMATS = ['auto', 'json', 'pretty'] as const;
/** One of {@link LOG_FORMATS}. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** How logs are written. */
export interface LoggerOptions {
  /** Named in every line. */
  readonly service: string;
  /** The least urgent that is written. Default `info`. */
  readonly level?: LogLevel;
  /** Default `json`. */
  readonly format?: LogFormat;
  /** Takes whole lines with their line feed. Default standard output. */
  readonly destination?: { write(line: string): unknown };
}

/**
 * A logger that adds service, time (ISO 8601, UTC) and, inside `withRequestId`, `requestId` to every line. Errors go under
 * `err`: `log.error({ err }, 'cannot load')`.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { service, level = 'info', format = 'json', destination = process.stdout } = options;
  const nameless = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin() {
        const requestId = currentRequestId();
        return requestId === undefined ? {} : { requestId };
      },
    },
    format === 'json' || (format === 'auto' && !process.stdout.isTTY)
      ? destination
      : { write: (line) => destination.write(prettyLine(line)) },
  );
  return named(nameless, service);
}

/**
 * A logger of another service in the same process: lines of that name, all else alike. A child with another `service`
 * would write both.
 *
 * @param logger made by {@link createLogger} or this function
 */
export function loggerFor(service: string, logger: Logger): Logger {
  return named(NAMELESS.get(logger) ?? logger, service);
}

/** What a logger was before it got its service's name. */
const NAMELESS = new WeakMap<Logger, Logger>();

function named(nameless: Logger, service: string): Logger {
  const logger = nameless.child({ service });
  NAMELESS.set(logger, nameless);
  return logger;
}
