import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { FastifyInstance } from 'fastify';
import type { Core } from '../core.ts';
import { openApiDocument } from './openapi.ts';
import type { Readiness } from './readiness.ts';

/** Health, readiness, metrics, the OpenAPI document, the web page. */
export function systemRoutes(app: FastifyInstance, core: Core): void {
  app.get('/healthz', () => ({ status: 'alive' }));
  app.get('/readyz', async (_request, reply): Promise<Readiness> => {
    const problems = Object.entries(core.peers.problems());
    const missing = problems.flatMap(([name, problem]) => (problem === undefined ? [] : [name]));
    const services = Object.fromEntries(problems.map(([name, problem]) => [name, problem ?? 'ready']));
    const ready = core.ready();
    if (!ready) reply.code(503);
    return { status: core.draining() ? 'draining' : ready ? 'ready' : 'not ready', missing, services };
  });
  app.get('/metrics', async (_request, reply) => {
    return reply.header('content-type', core.shownMetrics.contentType).send(await core.shownMetrics.text());
  });
  const document = openApiDocument();
  app.get('/openapi.json', () => document);
  const page = readFileSync(new URL('../page/index.html', import.meta.url), 'utf8');
  const policy = contentPolicy(page);
  app.get('/', (_request, reply) => {
    return reply
      .header('content-type', 'text/html; charset=utf-8')
      .header('content-security-policy', policy)
      .header('cache-control', 'no-cache')
      .send(page);
  });
}

/** Allows the page's own script and style, by their hashes, and calls to this server; nothing else. */
function contentPolicy(page: string): string {
  const hashes = (tag: string): string => {
    const blocks = page.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, 'g'));
    return Array.from(blocks, ([, text = '']) => {
      return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    }).join(' ');
  };
  return [
    "default-src 'none'",
    `script-src ${hashes('script')}`,
    `style-src ${hashes('style')}`,
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
