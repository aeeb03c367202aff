import type { Logger } from '@clip-gen/telemetry';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** After the handler is done the process should end by itself; what still holds it then holds it no longer than this. */
const LINGER_MS = 2_000;

/**
 * Calls `handler` on the first SIGTERM or SIGINT, which drains and closes everything; the process then ends by itself, or
 * with exit code 1 where the handler failed. A second signal ends it at once.
 *
 * @returns takes the handler off again
 */
export function onShutdown(handler: () => Promise<void>, { logger }: { readonly logger: Logger }): () => void {
  let begun = false;
  const listener = (signal: NodeJS.Signals): void => {
    if (begun) {
      logger.warn({ signal }, 'told twice: leaving at once');
      process.exit(1);
    }
    begun = true;
    logger.info({ signal }, 'shutting down');
    handler()
      .catch((err: unknown) => {
        logger.error({ err }, 'shutdown failed');
        process.exitCode = 1;
      })
      .finally(() => {
        setTimeout(() => {
          logger.warn('something still runs after shutdown: leaving');
          process.exit();
        }, LINGER_MS).unref();
      });
  };
  for (const signal of SIGNALS) process.on(signal, listener);
  return () => {
    for (const signal of SIGNALS) process.off(signal, listener);
  };
}
