import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestGateway, type TestGateway } from '../test-gateway.ts';
import { OpenAiErrorBody } from './openai-error.ts';

let door: TestGateway;
beforeAll(async () => {
  door = await startTestGateway();
});
afterAll(() => door.close());

/** What comes back for these very bytes. */
async function send(request: string | Buffer): Promise<{ status: number; head: string; body: string }> {
  const socket = connect(door.gateway.httpPort, '127.0.0.1');
  socket.on('error', () => undefined); // the server may hang up before all is written
  socket.write(request);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => socket.once('close', resolve));
  const text = Buffer.concat(chunks).toString();
  const [head = '', body = ''] = text.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]), head, body };
}

const get = (path: string, headers = ''): string =>
  `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}\r\n`;

function post(body: string | Buffer, headers = 'content-type: application/json\r\n'): Buffer {
  const path = '/v1/images/generations';
  const length = Buffer.byteLength(body);
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${headers}content-length: ${length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

const DAMAGED = Buffer.concat([Buffer.from('{"prompt": "a '), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);

it.each<[string, string | Buffer, number, string]>([
  ['what is no HTTP', 'hello\r\n\r\n', 400, 'this is no HTTP request'],
  ['a TLS client', Buffer.from('16030100a5010000a10303', 'hex'), 400, 'this is no HTTP request'],
  ['a length that is no number', post('{}').toString().replace('length: 2', 'length: x'), 400, 'no HTTP request'],
  ['two lengths', post('{}', 'transfer-encoding: chunked\r\n'), 400, 'this is no HTTP request'],
  ['large headers', get('/healthz', `x-a: ${'a'.repeat(40_000)}\r\n`), 431, 'the headers are larger'],
  ['a path that is no UTF-8', get('/v1/models/%ff'), 400, 'the path must be UTF-8, percent-encoded'],
  ['a path that is nothing', get('/%zz'), 400, 'the path must be UTF-8, percent-encoded'],
  ['a long name', get(`/v1/models/${'a'.repeat(300)}`), 414, 'the path is longer'],
  ['text that is no UTF-8', post(DAMAGED), 400, 'the body must be UTF-8'],
  ['half a character', post('{"prompt": "\\ud83c"}'), 400, 'prompt must be well-formed Unicode'],
  ['plain text', post('{"prompt": "a"}', 'content-type: text/plain\r\n'), 415, 'content-type must be application/json'],
  ['no type', post('{"prompt": "a"}', ''), 415, 'content-type must be application/json'],
  ['NaN', post('{"prompt": "a", "temperature": NaN}'), 400, 'the body must be a JSON object; it is no valid JSON'],
  ['infinity', post('{"prompt": "a", "temperature": 1e999}'), 400, 'temperature must be in [0, 10]; got Infinity'],
  ['depth', post('['.repeat(20_000) + ']'.repeat(20_000)), 400, 'body must be a JSON object; got "an array"'],
])('answers %s as it answers all errors', async (_, request, status, message) => {
  const answer = await send(request);
  expect(answer.status, answer.head).toBe(status);
  expect(answer.head).toMatch(/^content-type: application\/json; charset=utf-8\r$/im);
  expect(answer.head).toMatch(/^x-request-id: [\w-]{36}\r$/im);
  const { error } = OpenAiErrorBody.parse(JSON.parse(answer.body));
  expect(error).toMatchObject({ type: 'invalid_request_error', message: expect.stringContaining(message) });
});

it('goes on after all of these', async () => {
  expect((await send(get('/healthz'))).status).toBe(200);
});
