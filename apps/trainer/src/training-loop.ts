import { join } from 'node:path';
import { encodeImage } from '@clip-gen/image';
import { warmupCosine } from '@clip-gen/optimizer';
import { EventWriter } from '@clip-gen/tensorboard';
import { CheckpointFolder, type Progress } from './checkpoint.ts';
import type { CommonTraining } from './config.ts';
import { writeModel } from './model-folder.ts';
import { ProgressLine } from './progress-line.ts';
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
  /** Asked after each step. */
  readonly stopRequested: () => boolean;
  /** Told of each step: for tests and for other front ends. */
  readonly onStep?: (globalStep: number, metrics: Metrics) => void;
}

export interface TrainingSummary {
  readonly finished: boolean;
  readonly progress: Progress;
}

/** Scalars are logged every so many steps. */
const LOG_STEPS = 10;
/** Share of the newest step in the smoothed figures of the progress line. */
const SMOOTHING = 0.05;

/**
 * Runs a stage to its end or until it is asked to stop, from the latest checkpoint in `out/checkpoints` if there is
 * one. Continues exactly: the losses are those of an uninterrupted run.
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
  const rate = learningRates(settings, stage.stepsPerEpoch);
  const log = await EventWriter.open(join(out, 'events'));
  const smoothed = new Map<string, number>();
  let lastSave = performance.now();
  let secondsPerStep = 0;
  const save = async (): Promise<void> => {
    await folder.save(place, stage.state());
    await writeModel(out, stage.model());
    lastSave = performance.now();
  };
  try {
    while (place.epoch < settings.epochs) {
      let started = performance.now();
      for await (const batch of stage.batches(place.epoch, place.stepInEpoch)) {
        const learningRate = rate(place.globalStep);
        const metrics = await stage.step(batch, { epoch: place.epoch, globalStep: place.globalStep, learningRate });
        place = { ...place, stepInEpoch: place.stepInEpoch + 1, globalStep: place.globalStep + 1 };
        options.onStep?.(place.globalStep, metrics);
        const seconds = (performance.now() - started) / 1000;
        secondsPerStep = secondsPerStep === 0 ? seconds : 0.9 * secondsPerStep + 0.1 * seconds;
        for (const [name, value] of Object.entries(metrics)) {
          const before = smoothed.get(name) ?? value;
          smoothed.set(name, before + SMOOTHING * (value - before));
        }
        if (place.globalStep % LOG_STEPS === 0) {
          log.scalars(prefixed('train', metrics), place.globalStep);
          log.scalars(
            { 'train/learning_rate': learningRate, 'train/images_per_second': stage.batchSize / secondsPerStep },
            place.globalStep,
          );
        }
        const stepsLeft = (settings.epochs - place.epoch) * stage.stepsPerEpoch - place.stepInEpoch;
        line.update({
          stage: stage.name,
          epoch: place.epoch,
          epochs: settings.epochs,
          step: place.stepInEpoch,
          stepsPerEpoch: stage.stepsPerEpoch,
          metrics: Object.fromEntries(smoothed),
          imagesPerSecond: stage.batchSize / secondsPerStep,
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
      const { score, metrics } = await stage.validate();
      log.scalars(prefixed('validation', metrics), place.globalStep);
      const shown = Object.entries(metrics).map(([name, value]) => `${name} ${value.toPrecision(5)}`);
      line.print(`${stage.name}: epoch ${place.epoch}/${settings.epochs} validation  ${shown.join('  ')}`);
      for (const [tag, image] of await stage.illustrate()) {
        const png = await encodeImage(image, { format: 'png' });
        log.image(tag, { png, width: image.width, height: image.height }, place.globalStep);
      }
      if (place.bestScore === null || score < place.bestScore) {
        place = { ...place, bestScore: score };
        await folder.saveBest(place, stage.state());
      }
    }
    await save();
    return { finished: true, progress: place };
  } finally {
    await log.close();
  }
}

function learningRates(settings: LoopOptions['settings'], stepsPerEpoch: number): (step: number) => number {
  const { learningRate: peak, epochs } = settings;
  const warmupSteps = Math.round(settings.warmupEpochs * stepsPerEpoch);
  if (settings.schedule === 'constant') return (step) => peak * Math.min(1, (step + 1) / (warmupSteps + 1));
  const totalSteps = epochs * stepsPerEpoch;
  return warmupCosine({ peak, warmupSteps: Math.min(warmupSteps, totalSteps - 1), totalSteps });
}

function prefixed(prefix: string, metrics: Metrics): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`${prefix}/${name}`, value]));
}
