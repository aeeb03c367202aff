import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { EmbeddingsRequest, EmbeddingsResponse } from './embeddings-route.ts';
import { ImagesEvent, ImagesRequest, ImagesResponse } from './images-schema.ts';
import { Model, ModelList } from './models-route.ts';
import { OpenAiErrorBody } from './openai-error.ts';
import { Readiness } from './readiness.ts';

const SCHEMAS = {
  ImagesRequest,
  ImagesResponse,
  ImagesEvent,
  EmbeddingsRequest,
  EmbeddingsResponse,
  Model,
  ModelList,
  Readiness,
  Error: OpenAiErrorBody,
} as const;

const ERRORS: Readonly<Record<number, string>> = {
  400: 'A field is missing or out of bounds: `param` names it.',
  401: 'The server wants a key.',
  404: 'There is no such path or model.',
  405: 'Another method; `Allow` lists those there are.',
  413: 'The body is too large.',
  415: 'The body is not JSON.',
  429: 'Too much is waiting; `Retry-After` says when to come back.',
  500: 'A fault of the server’s; the message has the request’s id.',
  503: 'A service behind is away.',
  504: 'It took too long.',
};

/** The OpenAPI 3.1 document, from the very schemas that check requests. */
export function openApiDocument(): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'clip-gen',
      version: version(),
      description: 'Pictures from prompts, in the shape of OpenAI’s API with fields of its own.',
    },
    components: {
      schemas: Object.fromEntries(Object.entries(SCHEMAS).map(([name, schema]) => [name, jsonSchema(schema)])),
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'Where the server is run with keys.' } },
    },
    security: [{ key: [] }, {}],
    paths: {
      '/v1/images/generations': {
        post: operation('Pictures from a prompt', [400, 401, 404, 413, 415, 429, 500, 503, 504], {
          body: 'ImagesRequest',
          content: {
            ...json('ImagesResponse'),
            'text/event-stream': {
              schema: reference('ImagesEvent'),
              description: 'With `stream`: the `data` of each event. An error on the way is an `error` event.',
            },
          },
        }),
      },
      '/v1/embeddings': {
        post: operation('Texts in CLIP’s space', [400, 401, 404, 413, 415, 429, 500, 503, 504], {
          body: 'EmbeddingsRequest',
          content: json('EmbeddingsResponse'),
        }),
      },
      '/v1/models': { get: operation('Models', [401], { content: json('ModelList') }) },
      '/v1/models/{id}': {
        get: {
          ...operation('One model', [401, 404], { content: json('Model') }),
          parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        },
      },
      '/healthz': { get: operation('The process is alive', [], { content: { 'application/json': {} } }) },
      '/readyz': {
        get: {
          summary: 'Requests can be served',
          responses: {
            200: { description: 'Yes.', content: json('Readiness') },
            503: { description: 'Not now; `missing` says why.', content: json('Readiness') },
          },
        },
      },
      '/metrics': { get: operation('For Prometheus', [], { content: { 'text/plain': {} } }) },
    },
  };
}

function operation(
  summary: string,
  errors: readonly number[],
  { body, content }: { body?: keyof typeof SCHEMAS; content: object },
): object {
  const failures = errors.map((status) => [status, { description: ERRORS[status], content: json('Error') }]);
  return {
    summary,
    ...(body && { requestBody: { required: true, content: json(body) } }),
    responses: { 200: { description: 'Done.', content }, ...(Object.fromEntries(failures) as object) },
  };
}

function json(name: keyof typeof SCHEMAS): object {
  return { 'application/json': { schema: reference(name) } };
}

function reference(name: keyof typeof SCHEMAS): object {
  return { $ref: `#/components/schemas/${name}` };
}

function jsonSchema(schema: z.ZodType): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' });
  return rest;
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
