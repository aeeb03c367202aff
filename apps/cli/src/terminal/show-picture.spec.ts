import { expect, it } from 'vitest';
import { readConfig } from '../config.ts';
import { halfBlocks, inlinePicture } from './show-picture.ts';

it('iTerm2 gets the file in one sequence', () => {
  expect(inlinePicture(Uint8Array.of(1, 2, 3), 'iterm')).toBe(
    '\x1b]1337;File=inline=1;size=3;preserveAspectRatio=1:AQID\x07\n',
  );
});

it.each([0, 1, 3071, 3072, 3073, 10_000])('kitty gets %d bytes in pieces that join to the file', (length) => {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) % 256);
  const text = inlinePicture(bytes, 'kitty');
  const pieces = [...text.replaceAll('\x1b', '^').matchAll(/\^_G([^;]*);([^^]*)\^\\/g)];
  expect(Buffer.from(pieces.map(([, , data]) => data).join(''), 'base64')).toEqual(Buffer.from(bytes));
  expect(pieces.every(([, , data]) => data!.length <= 4096)).toBe(true);
  const more = pieces.map(([, keys]) => /m=(\d)/.exec(keys!)![1]);
  expect(more).toEqual([
    ...Array.from({ length: Math.max(0, pieces.length - 1) }, () => '1'),
    ...(length > 0 ? ['0'] : []),
  ]);
});

it('half blocks hold two rows a line', () => {
  const image = { width: 1, height: 3, data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9) };
  expect(halfBlocks(image)).toBe('\x1b[38;2;1;2;3m\x1b[48;2;4;5;6m▀\x1b[0m\n' + '\x1b[38;2;7;8;9m\x1b[49m▀\x1b[0m\n');
});

it.each([
  [{}, undefined],
  [{ TERM: 'xterm-256color' }, undefined],
  [{ TERM_PROGRAM: 'iTerm.app' }, 'iterm'],
  [{ TERM_PROGRAM: 'WezTerm' }, 'iterm'],
  [{ LC_TERMINAL: 'iTerm2' }, 'iterm'],
  [{ TERM: 'xterm-kitty' }, 'kitty'],
  [{ TERM_PROGRAM: 'ghostty' }, 'kitty'],
  [{ TERM_PROGRAM: 'iTerm.app', TMUX: '/tmp/tmux' }, undefined],
  [{ LC_TERMINAL: 'iTerm2', TERM: 'screen-256color' }, undefined],
])('the environment %j has the protocol %s', (environment, protocol) => {
  expect(readConfig(environment).pictureProtocol).toBe(protocol);
});

it.each([
  [{}, false],
  [{ CLIP_GEN_DEBUG: '0' }, false],
  [{ CLIP_GEN_DEBUG: '1' }, true],
])('the environment %j sets debug %s', (environment, debug) => {
  expect(readConfig(environment).debug).toBe(debug);
});
