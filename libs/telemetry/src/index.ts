export {
  createLogger,
  loggerFor,
  LOG_FORMATS,
  LOG_LEVELS,
  type LogFormat,
  type Logger,
  type LoggerOptions,
  type LogLevel,
} from './logger.ts';
export { startMetricsServer, type MetricsServer, type MetricsServerOptions } from './metrics-server.ts';
export { Metrics, SECONDS_BUCKETS, type MetricOptions, type MetricsText } from './metrics.ts';
export { acceptRequestId, currentRequestId, newRequestId, withRequestId } from './request-id.ts';
export { shownTogether } from './shown-together.ts';
