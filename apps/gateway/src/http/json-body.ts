import type { FastifyInstance } from 'fastify';
import { HttpError } from './openai-error.ts';

/** Damaged text is an error, not a question mark in somebody's prompt. */
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Makes JSON in UTF-8 the one kind of body that is taken; any other is answered with 415. */
export function takeJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error'); // what would poison a prototype is refused
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    let text: string;
    try {
      text = UTF8.decode(body);
    } catch {
      done(new HttpError(400, 'the body must be UTF-8'));
      return;
    }
    void parse(request, text, done);
  });
}
