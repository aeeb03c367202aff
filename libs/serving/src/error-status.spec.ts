import { readFile } from 'node:fs/promises';
import { Status } from 'nice-grpc';
import { expect, it } from 'vitest';
import { ERROR_STATUS, errorCode } from './error-status.ts';

it('is the table that the README shows', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const shown = [...readme.matchAll(/^\| `([a-z_]+)` +\| ([A-Z_]+) +\| (\d{3}) +\|$/gm)].map((row) => row.slice(1));
  expect(shown).toEqual(
    Object.entries(ERROR_STATUS).map(([code, { grpc, http }]) => [code, Status[grpc], String(http)]),
  );
});

it('leads back from every status', () => {
  for (const [code, { grpc }] of Object.entries(ERROR_STATUS)) expect(errorCode(grpc)).toBe(code);
  expect(errorCode(Status.UNKNOWN)).toBe('internal');
  expect(errorCode(Status.OUT_OF_RANGE)).toBe('invalid_argument');
  expect(errorCode(Status.ABORTED)).toBe('unavailable');
  expect(errorCode(99 as Status)).toBe('internal');
});
