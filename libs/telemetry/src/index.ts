export { createLogger, LOG_LEVELS, type Logger, type LoggerOptions, type LogLevel } from './logger.ts';
export { startMetricsServer, type MetricsServer, type MetricsServerOptions } from './metrics-server.ts';
export { Metrics, SECONDS_BUCKETS, type MetricOptions } from './metrics.ts';
export { acceptRequestId, currentRequestId, newRequestId, withRequestId } from './request-id.ts';
