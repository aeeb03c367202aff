import { expect, it } from 'vitest';
import { withoutOptions } from './launch.ts';
import { rankVariables, readRank } from './rank-environment.ts';

const SET = { RANK: '1', WORLD_SIZE: '4', MASTER_ADDR: '10.0.0.1', MASTER_PORT: '29500', CLIP_GEN_TOKEN: 'a secret' };

it("reads torchrun's names", () => {
  expect(readRank({})).toBeUndefined();
  expect(readRank({ RANK: '0' })).toBeUndefined();
  expect(readRank({ RANK: '0', WORLD_SIZE: '1' })).toBeUndefined();
  const rank = readRank({ ...SET, LOCAL_RANK: '1' })!;
  expect(rank).toEqual({
    rank: 1,
    worldSize: 4,
    localWorldSize: 1,
    localRank: 0,
    rendezvous: '10.0.0.1:29500',
    token: 'a secret',
    epoch: 0,
    elastic: false,
  });
  // Ranks that are dealt round the hosts, and those that are not.
  expect(readRank({ ...SET, RANK: '2', LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '2' })).toMatchObject({ localRank: 1 });
  expect(readRank({ ...SET, RANK: '3', LOCAL_WORLD_SIZE: '2' })).toMatchObject({ localRank: 1 });
  for (const rendezvous of ['10.0.0.1:29500', '[fd00::1]:1', 'host-0.cluster:65535']) {
    const given = { ...rank, rendezvous, localRank: 1, localWorldSize: 2, epoch: 3, elastic: true };
    expect(readRank(rankVariables(given))).toEqual(given);
  }
});

it.each([
  [{ RANK: '4' }, 'RANK must be an integer in [0, 3]; got "4"'],
  [{ WORLD_SIZE: 'two' }, 'WORLD_SIZE must be an integer in [1, 1024]; got "two"'],
  [{ LOCAL_RANK: '2', LOCAL_WORLD_SIZE: '2' }, 'LOCAL_RANK must be an integer in [0, 1]; got "2"'],
  [{ MASTER_PORT: undefined }, 'MASTER_PORT must be an integer in [1, 65535]; got undefined'],
  [{ MASTER_ADDR: '' }, 'MASTER_ADDR must be the address of rank 0 where RANK is set'],
  [{ CLIP_GEN_TOKEN: 'short' }, /^CLIP_GEN_TOKEN must be a secret of at least 8 characters.*got 5 characters$/],
])('says what is wrong: %j', (change, message) => {
  expect(() => readRank({ ...SET, ...change })).toThrow(message);
});

it('takes options and their values out of a command line', () => {
  const words = ['train', '--nproc', '2', '--data', 'a', '--nproc=3', '--nprocs', '--max-restarts', '1', 'x'];
  expect(withoutOptions(words, ['--nproc', '--max-restarts'])).toEqual(['train', '--data', 'a', '--nprocs', 'x']);
});
