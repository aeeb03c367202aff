import { readSettings } from '@clip-gen/config';
import { expect, it } from 'vitest';
import { decoderAddresses, GATEWAY_SETTINGS } from './config.ts';

const read = (...argv: string[]) => readSettings(GATEWAY_SETTINGS, { argv, env: {} });

it('groups replicas of a decoder by name, the first name first', () => {
  const { decoders } = read('--decoders', 'vqgan=a:1,preview=b:2,vqgan=[::1]:3');
  expect([...decoderAddresses(decoders)]).toEqual([
    ['vqgan', ['a:1', '[::1]:3']],
    ['preview', ['b:2']],
  ]);
});

it.each([
  [['--decoders', 'vqgan'], 'name=host:port'],
  [['--decoders', ''], '--decoders must be 1 to 256 entries'],
  [['--sampler', 'nowhere'], 'host:port'],
  [['--max-in-flight', '0'], '--max-in-flight must be an integer in [1, 1024]; got "0"'],
  [['--max-flight', '3'], 'did you mean --max-in-flight?'],
])('refuses %j', (argv, message) => {
  expect(() => read(...argv)).toThrow(message);
});

it.each([['vqgan=nowhere'], ['vqgan=a:70000'], ['a b=c:1']])('refuses the decoder %s', (entry) => {
  expect(() => decoderAddresses([entry])).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
});
