import { ClipGenError } from '@clip-gen/errors';
import { createLogger } from '@clip-gen/telemetry';
import { expect, it } from 'vitest';
import { Peer } from './peer.ts';

function watched(probe: () => Promise<number>) {
  const lines: string[] = [];
  let changes = 0;
  const logger = createLogger({ service: 'gateway', destination: { write: (line) => lines.push(line) } });
  const peer = new Peer({ name: 'sampler', probe, onChange: () => changes++, logger });
  return { peer, lines, changes: () => changes };
}

it('tells when it comes and goes, once each', async () => {
  let answer: Promise<number> | undefined;
  const { peer, lines, changes } = watched(() => answer ?? Promise.reject(new ClipGenError('unavailable', 'away')));
  await peer.ask();
  await peer.ask();
  expect([peer.problem, lines.length, changes()]).toEqual(['unavailable', 1, 0]);
  await expect(peer.known()).rejects.toThrow('the sampler service is away; try again in a moment');
  answer = Promise.resolve(7);
  await Promise.all([peer.ask(), peer.ask()]);
  expect([peer.problem, peer.info, lines.length, changes()]).toEqual([undefined, 7, 2, 1]);
  answer = undefined;
  await peer.ask();
  expect([peer.problem, lines.length, changes()]).toEqual(['unavailable', 3, 2]);
  expect(await peer.known()).toBe(7);
});

it('has no news of a connection that is closed by its owner', async () => {
  const { peer, lines, changes } = watched(() => Promise.reject(new ClipGenError('cancelled', 'closed')));
  const asking = peer.ask();
  peer.forget();
  await asking;
  expect([lines.length, changes()]).toEqual([0, 0]);
});
