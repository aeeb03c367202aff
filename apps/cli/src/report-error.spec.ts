import { ClipGenError } from '@clip-gen/errors';
import { afterEach, expect, it, vi } from 'vitest';
import { reportError } from './report-error.ts';

afterEach(() => vi.restoreAllMocks());

function report(error: unknown, debug = false): { said: string; exitCode: number } {
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  return { exitCode: reportError(error, debug), said };
}

const system = (code: string, path?: string): Error =>
  Object.assign(new Error(`${code}: in the system's own words`), { code, syscall: 'write', ...(path && { path }) });

it.each<[unknown, string, number]>([
  [new ClipGenError('not_found', 'x does not exist'), 'clip-gen: x does not exist\n', 2],
  [
    new ClipGenError('invalid_argument', 'topK must be in [0, 9]; got 10'),
    'clip-gen: --top-k must be in [0, 9]; got 10\n',
    2,
  ],
  [new ClipGenError('unavailable', 'two\n  lines'), 'clip-gen: two; lines\n', 1],
  [system('ENOSPC'), 'clip-gen: the disk is full; make room, then run the same command again (ENOSPC)\n', 1],
  [system('EROFS', 'm/x.bin'), 'clip-gen: m/x.bin: the disk is read-only; name another folder (EROFS)\n', 1],
  [system('ELOOP'), "clip-gen: ELOOP: in the system's own words (CLIP_GEN_DEBUG=1 shows where)\n", 1],
  [
    Object.assign(new Error('listen EACCES 0.0.0.0:80'), { code: 'EACCES', syscall: 'listen' }),
    'clip-gen: listen EACCES 0.0.0.0:80 (CLIP_GEN_DEBUG=1 shows where)\n',
    1,
  ],
  [new TypeError('a slip of ours'), 'clip-gen: a slip of ours (CLIP_GEN_DEBUG=1 shows where)\n', 1],
  ['a text', 'clip-gen: a text (CLIP_GEN_DEBUG=1 shows where)\n', 1],
])('%s is one line', (error, said, exitCode) => {
  expect(report(error)).toEqual({ said, exitCode });
});

it('shows the stack where it is asked for', () => {
  const { said } = report(new ClipGenError('internal', 'outer', { cause: system('ENOSPC') }), true);
  expect(said).toMatch(/^clip-gen: outer\n.*ClipGenError: outer\n {4}at [^]*caused by Error: ENOSPC/);
});
