import { warmupConstant, warmupCosine } from '@clip-gen/optimizer';
import type { CommonTraining } from './config.ts';

/**
 * The learning rate of each step, counted from 0.
 *
 * @param settings warm-up and schedule in epochs
 */
export function learningRates(
  settings: Pick<CommonTraining, 'epochs' | 'learningRate' | 'warmupEpochs' | 'schedule'>,
  stepsPerEpoch: number,
): (step: number) => number {
  const { learningRate: peak, epochs } = settings;
  const warmupSteps = Math.round(settings.warmupEpochs * stepsPerEpoch);
  if (settings.schedule === 'constant') return warmupConstant({ peak, warmupSteps });
  const totalSteps = epochs * stepsPerEpoch;
  return warmupCosine({ peak, warmupSteps: Math.min(warmupSteps, totalSteps - 1), totalSteps });
}
