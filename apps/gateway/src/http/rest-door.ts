import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import { parseAddress } from '@clip-gen/config';
import { ClipGenError } from '@clip-gen/errors';
import type { ServerTls } from '@clip-gen/serving';
import { acceptRequestId, withRequestId } from '@clip-gen/telemetry';
import type { Core } from '../core.ts';
import { embeddingsRoute } from './embeddings-route.ts';
import { imagesRoute } from './images-route.ts';
import { takeJson } from './json-body.ts';
import { answerMalformed } from './malformed-request.ts';
import { modelsRoute } from './models-route.ts';
import { errorAnswer, HttpError } from './openai-error.ts';
import { systemRoutes } from './system-routes.ts';

/** The running HTTP server. */
export interface RestDoor {
  readonly port: number;
  /** Takes no more connections; resolves when running requests are answered. */
  close(): Promise<void>;
  /** Ends connections that are still open. */
  cut(): void;
}

/** How long a client may take to send its request. */
const RECEIVE_TIMEOUT_MS = 15_000;
/** What a connection may be silent for past a request's own time: then its client has stopped reading. */
const STALL_MS = 15_000;
const IDLE_CHECK_MS = 20;

/**
 * Listens with REST, the web page and what operators ask for; with certificates, over HTTPS alone.
 *
 * @throws unavailable when the address cannot be had
 */
export async function openRestDoor(core: Core, tls?: ServerTls): Promise<RestDoor> {
  const { settings, keys, logger } = core;
  const receive = (request: FastifyRequest, reply: FastifyReply): void => {
    void reply
      .header('x-request-id', request.id)
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer');
    const since = performance.now(); // `elapsedTime` of the reply only runs with Fastify's own logger
    // Not `onResponse`, which does not come when the client hangs up.
    reply.raw.once('close', () => note(core, request, reply, performance.now() - since));
  };
  const fail = (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const { status, headers, body } = errorAnswer(error, request.id);
    if (status >= 500) logger.error({ err: error, requestId: request.id }, 'request failed');
    void reply.code(status).headers(headers).send(body);
  };
  const app = createApp(tls, {
    bodyLimit: settings.maxBodyBytes,
    requestTimeout: RECEIVE_TIMEOUT_MS,
    connectionTimeout: settings.requestTimeoutMs + STALL_MS,
    forceCloseConnections: 'idle',
    return503OnClosing: false, // the hook below answers in OpenAI's shape
    genReqId: ({ headers: { 'x-request-id': given } }) =>
      acceptRequestId(typeof given === 'string' ? given : undefined),
    clientErrorHandler: answerMalformed,
    // Paths that no router can read: the hooks below do not see them.
    frameworkErrors(error, request, reply) {
      receive(request, reply);
      fail(error, request, reply);
    },
  });
  takeJson(app);
  app.addHook('onRequest', (request, reply, done) => {
    receive(request, reply);
    withRequestId(request.id, done);
  });
  app.addHook('onRequest', async ({ url, routeOptions, headers: { authorization } }) => {
    if (core.draining()) throw new ClipGenError('unavailable', 'the gateway is shutting down; try again');
    // By the route that was found, not by the path as it was written, which has many spellings (`/%761/models`).
    if ((routeOptions.url ?? url).startsWith('/v1/') && !keys.allow(authorization)) {
      throw new ClipGenError('unauthenticated', 'authorization must be "Bearer <key>" with a valid key');
    }
  });
  // Parsing a body may leave the request's context.
  app.addHook('preValidation', (request, _reply, done) => withRequestId(request.id, done));
  app.setErrorHandler(fail);
  imagesRoute(app, core);
  embeddingsRoute(app, core);
  modelsRoute(app, core);
  systemRoutes(app, core);
  app.setNotFoundHandler((request, reply) => {
    const [path = '/'] = request.url.split('?');
    const methods = METHODS.filter((method) => app.findRoute({ method, url: path }) ?? matches(app, method, path));
    if (methods.length === 0) {
      throw new HttpError(404, `there is no ${shorten(path)}; /openapi.json lists what there is`);
    }
    void reply.header('allow', methods.join(', '));
    throw new HttpError(405, `${shorten(path)} takes ${methods.join(', ')}; got ${request.method}`);
  });

  app.server.maxConnections = settings.maxConnections;
  const { host, port } = parseAddress(settings.httpAddress);
  try {
    await app.listen({ host, port });
  } catch (cause) {
    await app.close();
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `gateway cannot listen on ${settings.httpAddress} (is the port taken?): ${reason}`;
    throw new ClipGenError('unavailable', message, { cause });
  }
  const bound = app.server.address();
  return {
    port: typeof bound === 'object' && bound ? bound.port : port,
    async close() {
      // Clients keep connections for later; those that have become idle only now would hold the server up.
      const timer = setInterval(() => app.server.closeIdleConnections(), IDLE_CHECK_MS);
      try {
        await app.close();
      } finally {
        clearInterval(timer);
      }
    },
    cut: () => app.server.closeAllConnections(),
  };
}

function createApp(tls: ServerTls | undefined, options: FastifyServerOptions): FastifyInstance {
  if (!tls) return Fastify(options);
  const [cert, key, ca] = [tls.certificate, tls.key, tls.clientAuthority].map((pem) => pem && Buffer.from(pem));
  const https = { cert, key, ...(ca && { ca, requestCert: true, rejectUnauthorized: true }) };
  // Routes see requests and answers alone, which are those of plain HTTP; the server's type is all that differs.
  return Fastify({ ...options, https } as FastifyServerOptions);
}

/** Metrics and a log line of an answer that was sent, or whose client has gone. */
function note({ gatewayMetrics, logger }: Core, request: FastifyRequest, reply: FastifyReply, ms: number): void {
  const route = request.routeOptions.url ?? 'none';
  const status = reply.raw.writableFinished ? reply.statusCode : 499;
  gatewayMetrics.answered(route, status, ms);
  const quiet = route === '/metrics' || route === '/healthz' || route === '/readyz';
  const line = { requestId: request.id, method: request.method, route, status, ms: Math.round(ms) };
  logger[quiet ? 'debug' : 'info'](line, 'http request');
}

const METHODS = ['GET', 'HEAD', 'POST'] as const;

/** Whether a route with parameters takes the path. */
function matches(app: FastifyInstance, method: (typeof METHODS)[number], path: string): boolean {
  return method !== 'POST' && /^\/v1\/models\/[^/]+$/.test(path) && app.hasRoute({ method, url: '/v1/models/:id' });
}

function shorten(path: string): string {
  return path.length > 80 ? `${path.slice(0, 77)}...` : path;
}
