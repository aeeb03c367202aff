import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '@clip-gen/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeTinyData } from '../tiny-trainings.ts';
import { freePort } from './free-port.ts';
import { Launcher } from './launcher.ts';
import type { RankReport, RankTraining } from './training-rank.ts';

// Processes that take local steps come and go.
const SLOW = 120_000;

let pictures: string;
let models: string;
beforeAll(async () => {
  ({ pictures, models } = await writeTinyData(await temporaryFolder()));
}, SLOW);

const PROGRAM = fileURLToPath(new URL('./training-rank.ts', import.meta.url));

async function launch(given: RankTraining, maxRestarts: number): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = [];
  const code = await new Launcher({
    command: [process.execPath, '--import', 'tsx', PROGRAM, JSON.stringify([given])],
    env: process.env,
    firstRank: 0,
    localWorldSize: 3,
    worldSize: 3,
    rendezvous: `127.0.0.1:${await freePort()}`,
    token: 'only for tests',
    maxRestarts,
    print: (line) => lines.push(line),
  }).run();
  return { code, lines };
}

async function reportOf({ out, report }: RankTraining, rank: number): Promise<RankReport> {
  return JSON.parse(await readFile(join(out, `${report}-${rank}.json`), 'utf8')) as RankReport;
}

function training(settings: object, out: string, changes: object): RankTraining {
  return { stage: 'gpt', settings, pictures, models, imageSize: 16, out, report: 'report', held: 3, ...changes };
}

const values = ({ state }: RankReport): string[] =>
  Object.entries(state).flatMap(([name, hash]) => (name.includes('.values.') ? [`${name} ${hash}`] : []));

describe('three processes', { timeout: SLOW }, () => {
  const noise = { conditionDropout: 0.3, conditionNoise: 0.5, tokenNoise: 0.5 };
  const settings = { ...noise, averageDecay: 0.9, learningRate: 0.003, batchSize: 1, localSteps: { steps: 2 } };

  it('lose one to kill -9 in the middle of a round: the others go on without it from memory', async () => {
    const given = training(settings, await temporaryFolder(), { killRank: 1, killAfter: 3 });
    const { code, lines } = await launch(given, 0);
    expect(lines).toEqual(['rank 1 was ended by SIGKILL; the others go on without it']);
    expect(code).toBe(0);
    const [first, third] = [await reportOf(given, 0), await reportOf(given, 2)];
    // 10 pictures in batches of 3 are 3 steps an epoch: none was taken twice, none was left out.
    expect([first.metrics.length, third.metrics.length, first.finished]).toEqual([9, 9, true]);
    expect(values(third)).toEqual(values(first));
    const said = first.said.filter((line) => line.startsWith('gpt: ') && !line.includes('validation'));
    expect(said).toEqual([
      expect.stringMatching(/^gpt: .*rank 1.*; the others go on with those who are there\n$/),
      'gpt: 2 of 3 processes go on, without rank 1 from here\n',
      expect.stringMatching(/^gpt: rank 0 sent .* in 5 rounds/),
    ]);
  });

  it('let one in again that was started again: it takes the outer parameters', async () => {
    const endless = { ...settings, epochs: 100_000 };
    // Three pictures are trained on: an epoch is one step, and there is a validation due whenever processes meet.
    const changes = { killRank: 1, killAfter: 3, stopsWhenBack: true, held: 10 };
    const given = training(endless, await temporaryFolder(), changes);
    const { code, lines } = await launch(given, 1);
    expect(lines).toEqual([
      expect.stringMatching(/^rank 1 was lost \(SIGKILL\): it is started again and joins at the end of a round;/),
    ]);
    expect(code).toBe(0);
    const [first, second, third] = await Promise.all([0, 1, 2].map((rank) => reportOf(given, rank)));
    expect([first!.finished, second!.metrics.length]).toEqual([false, 2]);
    expect(first!.metrics.length).toBeGreaterThan(6);
    expect(values(second!)).toEqual(values(first!));
    expect(values(third!)).toEqual(values(first!));
    const said = first!.said.filter((line) => line.includes('took the outer') || line.includes('processes go on'));
    expect(said.slice(-2)).toEqual([
      'gpt: rank 1 took the outer parameters\n',
      'gpt: 3 of 3 processes go on, with rank 1 from here\n',
    ]);
  });

  it('wait for rank 0, which goes on from their state', async () => {
    const changes = { killRank: 0, killAfter: 3, stopsWhenBack: true };
    const given = training({ ...settings, epochs: 100_000 }, await temporaryFolder(), changes);
    const { code, lines } = await launch(given, 1);
    expect(lines).toEqual([expect.stringMatching(/^rank 0 was lost \(SIGKILL\): it is started again and joins/)]);
    expect(code).toBe(0);
    const [first, second, third] = await Promise.all([0, 1, 2].map((rank) => reportOf(given, rank)));
    // The others took the fourth step before they missed it, and the round's end was theirs alone.
    expect([first!.metrics.length, second!.metrics.length, third!.metrics.length]).toEqual([2, 6, 6]);
    expect(values(second!)).toEqual(values(first!));
    expect(values(third!)).toEqual(values(first!));
    expect(first!.said).toContain('gpt: rank 0 took the outer parameters\n');
  });
});
