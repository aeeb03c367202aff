import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { encodeImage } from '@clip-gen/image';
import { EventWriter } from '@clip-gen/tensorboard';
import { CheckpointFolder, type Progress } from './checkpoint.ts';
import type { CommonTraining } from './config.ts';
import { learningRates } from './learning-rate.ts';
import { writeModel } from './model-folder.ts';
import { prefixed } from './prefixed.ts';
import type { ProgressLine } from './progress-line.ts';
import { SmoothedMetrics } from './smoothed-metrics.ts';
import type { Metrics, Stage } from './stage.ts';

export interface LoopOptions {
  readonly out: string;
  readonly settings: Pick<
    CommonTraining,
    'epochs' | 'learningRate' | 'warmupEpochs' | 'schedule' | 'checkpointSeconds'
  >;
  /** What must agree for a checkpoint to be continued. */
  readonly identity: string;
  readonly progress: ProgressLine;
  /** Asked before the first step and after each. */
  readonly stopRequested: () => boolean;
  /** Told of each step: for tests and for other front ends. */
  readonly onStep?: (globalStep: number, metrics: Metrics) => void;
}

export interface TrainingSummary {
  readonly finished: boolean;
  readonly progress: Progress;
}

/** Folder in --out of the model with the best validation. */
const BEST_FOLDER = 'best';
/** Scalars are logged every so many steps. */
const LOG_STEPS = 10;
/** Steps in a row without a finite gradient after which the training is given up: it would not come back. */
const MAX_SKIPPED = 100;

/**
 * Runs a stage to its end or until it is asked to stop, from the latest checkpoint in `out/checkpoints` if there is
 * one. Continues exactly: the losses are those of an uninterrupted run.
 *
 * @throws failed_precondition when the checkpoint is of another training
 * @throws internal when the training has diverged for good
 * @throws data_corrupt when there are checkpoints and none is whole
 */
export async function runTraining<Batch>(stage: Stage<Batch>, options: LoopOptions): Promise<TrainingSummary> {
  const { out, settings, progress: line } = options;
  const folder = new CheckpointFolder(join(out, 'checkpoints'), stage.name, options.identity);
  const saved = await folder.load((message) => line.print(message));
  let place: Progress = { epoch: 0, stepInEpoch: 0, globalStep: 0, bestScore: null };
  if (saved) {
    stage.restore(saved.tensors, saved.notes);
    place = saved.progress;
    line.print(`${stage.name}: going on at epoch ${place.epoch + 1}, step ${place.stepInEpoch}`);
  }
  const begun = place;
  const rate = learningRates(settings, stage.stepsPerEpoch);
  const log = await EventWriter.open(join(out, 'events'));
  const smoothed = new SmoothedMetrics();
  let lastSave = performance.now();
  let secondsPerStep = 0;
  let skippedInARow = 0;
  const save = async (): Promise<void> => {
    await folder.save(place, stage.state());
    await writeModel(out, stage.model());
    lastSave = performance.now();
  };
  try {
    while (place.epoch < settings.epochs) {
      if (options.stopRequested()) {
        if (place !== begun) await save();
        return { finished: false, progress: place };
      }
      let started = performance.now();
      for await (const batch of stage.batches(place.epoch, place.stepInEpoch)) {
        const learningRate = rate(place.globalStep);
        const metrics = await stage.step(batch, { epoch: place.epoch, globalStep: place.globalStep, learningRate });
        place = { ...place, stepInEpoch: place.stepInEpoch + 1, globalStep: place.globalStep + 1 };
        options.onStep?.(place.globalStep, metrics);
        skippedInARow = metrics['skipped'] ? skippedInARow + 1 : 0;
        if (skippedInARow > 0) reportSkipped(skippedInARow, place.globalStep, settings.learningRate, line);
        const seconds = (performance.now() - started) / 1000;
        secondsPerStep = secondsPerStep === 0 ? seconds : 0.9 * secondsPerStep + 0.1 * seconds;
        const imagesPerSecond = stage.batchSize / secondsPerStep;
        smoothed.add(metrics);
        if (place.globalStep % LOG_STEPS === 0) {
          const speed = { learning_rate: learningRate, images_per_second: imagesPerSecond };
          log.scalars(prefixed('train/', { ...metrics, ...speed }), place.globalStep);
        }
        const stepsLeft = (settings.epochs - place.epoch) * stage.stepsPerEpoch - place.stepInEpoch;
        line.update({
          stage: stage.name,
          epoch: place.epoch,
          epochs: settings.epochs,
          step: place.stepInEpoch,
          stepsPerEpoch: stage.stepsPerEpoch,
          metrics: smoothed.values,
          imagesPerSecond,
          secondsLeft: stepsLeft * secondsPerStep,
        });
        if (options.stopRequested()) {
          await save();
          return { finished: false, progress: place };
        }
        if (performance.now() - lastSave > settings.checkpointSeconds * 1000) await save();
        started = performance.now();
      }
      place = { ...place, epoch: place.epoch + 1, stepInEpoch: 0 };
      const validation = await stage.validate();
      if (validation) {
        const { score, metrics } = validation;
        log.scalars(prefixed('validation/', metrics), place.globalStep);
        const shown = Object.entries(metrics).map(([name, value]) => `${name} ${value.toPrecision(5)}`);
        line.print(`${stage.name}: epoch ${place.epoch}/${settings.epochs} validation  ${shown.join('  ')}`);
        if (Number.isFinite(score) && (place.bestScore === null || score < place.bestScore)) {
          place = { ...place, bestScore: score };
          await folder.saveBest(place, stage.state());
          await writeModel(join(out, BEST_FOLDER), stage.model());
        }
      }
      for (const [tag, image] of await stage.illustrate()) {
        const png = await encodeImage(image, { format: 'png' });
        log.image(tag, { png, width: image.width, height: image.height }, place.globalStep);
      }
    }
    await save();
    return { finished: true, progress: place };
  } finally {
    await log.close();
  }
}

/** @throws internal when there have been too many in a row */
function reportSkipped(inARow: number, step: number, learningRate: number, line: ProgressLine): void {
  if (inARow >= MAX_SKIPPED) {
    throw new ClipGenError(
      'internal',
      `the last ${inARow} steps had gradients that are not finite: the training has diverged, and going on would do ` +
        `the same again; start in another --out with a lower learningRate, e.g. --set learningRate=${learningRate / 3}`,
    );
  }
  line.print(`step ${step}: a gradient is not finite; the step was skipped`);
}
