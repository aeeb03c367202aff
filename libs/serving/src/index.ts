export { connect, type Connection, type ConnectionOptions, type ConnectionState } from './connection.ts';
export type { CallExtras, Retry } from './client-calls.ts';
export { ERROR_STATUS, errorCode, RETRY_AFTER_TRAILER, type ErrorStatus } from './error-status.ts';
export { startServer, type GrpcServer, type GrpcServerOptions } from './grpc-server.ts';
export { serve, type Service } from './serve.ts';
export { onShutdown } from './shutdown.ts';
export { checkClientTls, checkServerTls, type ClientTls, type ServerTls } from './tls.ts';
export { WorkQueue, type Turn, type WorkQueueOptions } from './work-queue.ts';
