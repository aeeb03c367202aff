import { parseAddress } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { MetricsText } from './metrics.ts';

/** What the port answers from. */
export interface MetricsServerOptions {
  /** `host:port`; port 0 lets the system choose. */
  readonly address: string;
  readonly metrics: MetricsText;
  /** Whether requests may be sent here now. */
  readonly ready: () => boolean;
}

/** A running metrics port. */
export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Serves `GET /metrics` for Prometheus, `GET /healthz` (200 while the process answers) and `GET /readyz` (200 or 503).
 *
 * @throws ClipGenError `invalid_argument` for an address that is none, `unavailable` where the port cannot be had
 */
export async function startMetricsServer({ address, metrics, ready }: MetricsServerOptions): Promise<MetricsServer> {
  const { host, port } = parseAddress(address);
  const server = createServer(
    { headersTimeout: 5_000, requestTimeout: 5_000, maxHeaderSize: 8_192 },
    (request, response) => {
      answer(request, metrics, ready).then(
        ({ status, type, body }) => send(request, response, status, type, body),
        () => send(request, response, 500, 'text/plain', 'metrics cannot be read\n'),
      );
    },
  );
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new ClipGenError(
          'unavailable',
          `cannot listen on ${address} for metrics (is the port taken?): ${cause.message}`,
          { cause },
        ),
      ),
    );
    server.listen({ host, port }, resolve);
  });
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

async function answer(
  { method, url = '' }: IncomingMessage,
  metrics: MetricsText,
  ready: () => boolean,
): Promise<Answer> {
  const type = 'text/plain; charset=utf-8';
  const path = url.split('?')[0];
  if (path !== '/metrics' && path !== '/healthz' && path !== '/readyz') {
    return { status: 404, type, body: 'here are /metrics, /healthz and /readyz\n' };
  }
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, type, body: 'GET or HEAD\n' };
  if (path === '/metrics') return { status: 200, type: metrics.contentType, body: await metrics.text() };
  if (path === '/healthz' || ready()) return { status: 200, type, body: 'ok\n' };
  return { status: 503, type, body: 'not ready\n' };
}

function send(request: IncomingMessage, response: ServerResponse, status: number, type: string, body: string): void {
  request.resume();
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    ...(status === 405 && { allow: 'GET, HEAD' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
