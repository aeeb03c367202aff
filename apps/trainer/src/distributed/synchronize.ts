import { ClipGenError } from '@clip-gen/errors';
import type { Progress } from '../checkpoint.ts';
import { describeDifference } from '../identity.ts';
import type { Stage } from '../stage.ts';
import type { World } from './world.ts';

/**
 * Gives all processes the state of the one that has come furthest.
 *
 * @param own where this process stands; undefined when it holds no state
 * @returns where all stand now
 */
export async function synchronize(
  stage: Pick<Stage, 'state' | 'restore'>,
  world: World,
  own: Progress | undefined,
): Promise<Progress> {
  const steps = (await world.numbers([own?.globalStep ?? -1])).map(([step]) => step!);
  const root = steps.indexOf(Math.max(...steps));
  if (steps[root] === -1) throw new ClipGenError('internal', 'no process has a state to go on from');
  const { notes } = stage.state();
  const given = await world.share({ progress: own ?? null, notes }, root);
  const tensors = [...stage.state().tensors];
  await world.broadcast(
    tensors.map(([, tensor]) => tensor),
    root,
  );
  if (world.rank !== root) stage.restore(new Map(tensors), given.notes);
  return given.progress!;
}

/**
 * Makes sure that all processes train the same.
 *
 * @param identity of `identityOf`
 * @throws failed_precondition, naming the rank that differs and how
 */
export async function agree(identity: string, world: World): Promise<void> {
  const wanted = await world.share(identity);
  const differs = (await world.numbers([identity === wanted ? 0 : 1])).findIndex(([flag]) => flag === 1);
  if (differs < 0) return;
  const difference = await world.share(describeDifference(wanted, identity), differs);
  throw new ClipGenError('failed_precondition', `rank ${differs} must be started like rank 0: it has ${difference}`);
}
