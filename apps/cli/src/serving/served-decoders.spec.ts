import { expect, it } from 'vitest';
import { servedDecoders } from './served-decoders.ts';

const setting = servedDecoders({ taken: ['vqgan'], description: 'More decoders.' });
const parse = (text: string) => setting.parse(text, '--decoders');

it('takes manifests and servers, and replicas of these', () => {
  const text = 'tiles=out/tiles/decoder.json,far=decoder.example:50053,far=[::1]:50054,odd=./file:1,v2.x=a';
  const decoders = parse(text);
  expect(decoders).toEqual([
    { name: 'tiles', manifest: 'out/tiles/decoder.json' },
    { name: 'far', address: 'decoder.example:50053' },
    { name: 'far', address: '[::1]:50054' },
    { name: 'odd', manifest: './file:1' },
    { name: 'v2.x', manifest: 'a' },
  ]);
  expect(setting.format(decoders)).toBe(text);
  expect(parse('')).toEqual([]);
});

it.each([
  ['tiles', '--decoders must be name=decoder.json or name=host:port; got "tiles"'],
  ['tiles=', '--decoders must be name=decoder.json or name=host:port; got "tiles="'],
  ['a b=c.json', '--decoders must be name=decoder.json or name=host:port'],
  ['far=host:70000', '--decoders far must be host:port; got "host:70000"'],
  ['far=:50053', '--decoders far must be host:port; got ":50053"'],
  ['far=ho st:50053', '--decoders far must be host:port; got "ho st:50053"'],
  ['vqgan=host:50053', "--decoders must be names that differ; vqgan is the model's own"],
  ['vqgan=a.json', "--decoders must be names that differ; vqgan is the model's own"],
  ['tiles=a.json,tiles=b.json', '--decoders must be names that differ; tiles is there already'],
  ['tiles=a.json,tiles=host:1', '--decoders must be names that differ; tiles is there already'],
  ['far=host:1,far=a.json', '--decoders must be names that differ; far is a server elsewhere'],
])('refuses %s', (text, message) => {
  expect(() => parse(text)).toThrow(message);
});
