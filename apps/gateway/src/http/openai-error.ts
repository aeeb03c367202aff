import { ClipGenError } from '@clip-gen/errors';
import { ERROR_STATUS } from '@clip-gen/serving';
import { z } from 'zod';
import { InvalidField } from '../invalid-field.ts';

/** The body of every answer that is an error. */
export const OpenAiErrorBody = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    type: z.string().meta({ description: 'The kind, by the HTTP status.' }),
    param: z.nullable(z.string()).meta({ description: 'The field that is the cause.' }),
    code: z.nullable(z.string()),
  }),
});
export type OpenAiErrorBody = z.infer<typeof OpenAiErrorBody>;

/** An error that belongs to HTTP alone. */
export class HttpError extends ClipGenError {
  constructor(
    readonly status: number,
    message: string,
    readonly detail: { readonly code?: string; readonly param?: string } = {},
  ) {
    super('invalid_argument', message);
  }
}

/** An error as an HTTP answer. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: OpenAiErrorBody;
}

/** What OpenAI's clients look for: `type`, and `code` where the error has none of its own. */
const KINDS: Readonly<Record<number, { readonly type: string; readonly code: string | null }>> = {
  400: { type: 'invalid_request_error', code: null },
  401: { type: 'authentication_error', code: 'invalid_api_key' },
  404: { type: 'invalid_request_error', code: 'not_found' },
  405: { type: 'invalid_request_error', code: 'method_not_allowed' },
  408: { type: 'timeout', code: 'request_timeout' },
  413: { type: 'invalid_request_error', code: 'body_too_large' },
  414: { type: 'invalid_request_error', code: 'path_too_long' },
  415: { type: 'invalid_request_error', code: 'unsupported_media_type' },
  429: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
  431: { type: 'invalid_request_error', code: 'headers_too_large' },
  499: { type: 'cancelled', code: 'cancelled' },
  503: { type: 'service_unavailable', code: 'unavailable' },
  504: { type: 'timeout', code: 'deadline_exceeded' },
};

/** Seconds that a client is asked to wait when the service that knows better does not say. */
const RETRY_AFTER_SECONDS = 1;

/** The answer to an error of any kind. What is not meant for clients stays inside: `500` with the request's id. */
export function errorAnswer(error: unknown, requestId: string): ErrorAnswer {
  const status = statusOf(error);
  const kind = KINDS[status] ?? { type: status < 500 ? 'invalid_request_error' : 'server_error', code: null };
  const hidden = !(error instanceof ClipGenError) && status >= 500;
  const message = hidden || status === 500 ? `the request failed; its id is ${requestId}` : messageOf(error);
  const headers: Record<string, string> = {};
  if (status === 429 || status === 503) {
    const waitMs = error instanceof ClipGenError ? error.retryAfterMs : undefined;
    headers['retry-after'] = String(waitMs === undefined ? RETRY_AFTER_SECONDS : Math.max(1, Math.ceil(waitMs / 1000)));
  }
  if (status === 401) headers['www-authenticate'] = 'Bearer';
  const detail = error instanceof HttpError ? error.detail : {};
  const param = detail.param ?? (error instanceof InvalidField ? error.field : null);
  return { status, headers, body: { error: { message, type: kind.type, param, code: detail.code ?? kind.code } } };
}

function statusOf(error: unknown): number {
  if (error instanceof HttpError) return error.status;
  if (error instanceof ClipGenError) return ERROR_STATUS[error.code].http;
  // Fastify's own: a body that is too large, no JSON, of another type.
  const status: unknown = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : 500;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ClipGenError || !('code' in error)) return error.message;
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return 'the body is larger than this server takes';
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return 'content-type must be application/json';
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return 'the body must be a JSON object; it is empty';
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return 'the body must be a JSON object; it is no valid JSON';
    case 'FST_ERR_BAD_URL':
      return 'the path must be UTF-8, percent-encoded';
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return 'the path is longer than this server takes';
    default:
      return `the body must be a JSON object: ${error.message}`;
  }
}
