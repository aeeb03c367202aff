import { ClipGenError } from '@clip-gen/errors';
import { expect, it } from 'vitest';
import { EventChannel } from './event-channel.ts';
import type { GenerationEvent } from './generation-event.ts';

const progress = (tokens: number): GenerationEvent => {
  return { kind: 'progress', tokens, tokensTotal: 9, images: 0, imagesTotal: 1 };
};
const accepted: GenerationEvent = { kind: 'accepted', seed: 1, candidates: 2 };

it('keeps the latest progress alone for a slow reader, and everything else', async () => {
  const channel = new EventChannel();
  channel.push(accepted);
  for (let i = 1; i <= 5; i++) channel.push(progress(i));
  channel.push({ kind: 'finished', totalMs: 1, tokens: 9 });
  channel.end();
  const read: GenerationEvent[] = [];
  for await (const event of channel.read()) read.push(event);
  expect(read).toEqual([accepted, progress(5), { kind: 'finished', totalMs: 1, tokens: 9 }]);
});

it('wakes a waiting reader', async () => {
  const channel = new EventChannel();
  const events = channel.read();
  const first = events.next();
  channel.push(accepted);
  expect(await first).toEqual({ done: false, value: accepted });
  const last = events.next();
  channel.end();
  expect(await last).toEqual({ done: true, value: undefined });
});

it('ends with the first error, after what came before it', async () => {
  const channel = new EventChannel();
  channel.push(accepted);
  channel.end({ error: new ClipGenError('unavailable', 'gone') });
  channel.end({ error: new ClipGenError('internal', 'later') });
  const events = channel.read();
  expect((await events.next()).value).toEqual(accepted);
  await expect(events.next()).rejects.toThrow('gone');
});

it('drops all that was not read, however it had ended', async () => {
  const channel = new EventChannel();
  const late = new ClipGenError('deadline_exceeded', 'too late');
  channel.push(accepted);
  channel.push(progress(1));
  const events = channel.read();
  await events.next();
  channel.end();
  channel.drop(late);
  channel.push(accepted); // work that has not ended yet
  await expect(events.next()).rejects.toBe(late);
  const waiting = new EventChannel();
  const next = waiting.read().next();
  waiting.drop(late);
  await expect(next).rejects.toBe(late);
});
