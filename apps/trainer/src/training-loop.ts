import { join } from 'node:path';
import { ClipGenError } from '@clip-gen/errors';
import { encodeImage } from '@clip-gen/image';
import { EventWriter } from '@clip-gen/tensorboard';
import { CheckpointFolder, type Checkpoint, type Progress } from './checkpoint.ts';
import type { CommonTraining } from './config.ts';
import { LocalSteps, type Meeting } from './distributed/local-steps.ts';
import { synchronize } from './distributed/synchronize.ts';
import { World } from './distributed/world.ts';
import { learningRates } from './learning-rate.ts';
import { writeModel } from './model-folder.ts';
import { prefixed } from './prefixed.ts';
import type { ProgressLine } from './progress-line.ts';
import { SmoothedMetrics } from './smoothed-metrics.ts';
import type { Metrics, Stage, StageState } from './stage.ts';

export interface LoopOptions {
  readonly out: string;
  readonly settings: Pick<
    CommonTraining,
    'epochs' | 'learningRate' | 'warmupEpochs' | 'schedule' | 'checkpointSeconds' | 'localSteps'
  >;
  /** What must agree for a checkpoint to be continued. */
  readonly identity: string;
  readonly progress: ProgressLine;
  /** The processes that train together; default this one alone. */
  readonly world?: World;
  /**
   * Brings the processes together again after one was lost; then the training goes on from the newest state that any of
   * them holds. Without it a loss ends the training. With local steps those who are there come together.
   */
  readonly rejoin?: () => Promise<void>;
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
 * Runs a stage to its end or until any process is asked to stop, from the latest checkpoint in `out/checkpoints` if there
 * is one. Continues exactly: the losses are those of an uninterrupted run. Rank 0 alone reads and writes files.
 *
 * @throws failed_precondition when the checkpoint is of another training
 * @throws internal when the training has diverged for good
 * @throws data_corrupt when there are checkpoints and none is whole
 * @throws unavailable when a process is lost and may not be replaced
 */
export async function runTraining<Batch>(stage: Stage<Batch>, options: LoopOptions): Promise<TrainingSummary> {
  return new TrainingLoop(stage, options).run();
}

class TrainingLoop<Batch> {
  readonly #stage: Stage<Batch>;
  readonly #options: LoopOptions;
  readonly #world: World;
  readonly #folder: CheckpointFolder;
  readonly #smoothed = new SmoothedMetrics();
  #log: EventWriter | undefined;
  #place: Progress = { epoch: 0, stepInEpoch: 0, globalStep: 0, bestScore: null };
  /** Whether memory holds the state of `#place`, not one in the middle of a step. */
  #intact = false;
  #lastSave = performance.now();
  #secondsPerStep = 0;
  #skippedInARow = 0;
  /** None where every step is exchanged. */
  readonly #local: LocalSteps | undefined;
  /** An epoch has ended since the last meeting: its validation comes with the next. */
  #validates = false;
  /** Bytes that made the training ready, e.g. the pictures' tokens. */
  #sentBefore: number | undefined;
  #exchanged = { rounds: 0, milliseconds: 0 };

  constructor(stage: Stage<Batch>, options: LoopOptions) {
    this.#stage = stage;
    this.#options = options;
    this.#world = options.world ?? World.alone();
    const { rank } = this.#world;
    const own = options.settings.localSteps && rank > 0 ? [`rank-${rank}`] : [];
    this.#folder = new CheckpointFolder(join(options.out, 'checkpoints', ...own), stage.name, options.identity);
    this.#local = this.#localSteps();
  }

  #localSteps(): LocalSteps | undefined {
    const { settings, progress: line, rejoin } = this.#options;
    if (!settings.localSteps) return undefined;
    const { name, rounds: state } = this.#stage;
    if (!state)
      throw new ClipGenError('unimplemented', `${name} cannot take local steps: its steps need all processes`);
    return new LocalSteps({
      world: this.#world,
      state,
      settings: settings.localSteps,
      print: (message) => line.print(`${name}: ${message}`),
      rejoin: rejoin ?? (() => Promise.reject(new ClipGenError('internal', 'nothing brings the processes together'))),
      recall: async (globalStep) => {
        const saved = await this.#folder.load((message) => line.print(message), globalStep);
        if (saved) this.#restore(saved);
        return saved !== undefined;
      },
    });
  }

  async run(): Promise<TrainingSummary> {
    const { out, progress: line, rejoin } = this.#options;
    let continues = false;
    // All draw the same start, which the first meeting confirms.
    if (!this.#world.isFirst) this.#local?.begin(0);
    if (this.#world.isFirst) {
      const saved = await this.#folder.load((message) => line.print(message));
      if (saved) {
        this.#restore(saved);
        this.#place = saved.progress;
        continues = true;
      } else this.#local?.begin(0);
      this.#intact = true;
      this.#log = await EventWriter.open(join(out, 'events'));
    }
    try {
      for (;;) {
        try {
          const summary = await this.#goOn(continues);
          if (this.#world.size > 1) line.print(`${this.#stage.name}: ${await this.#traffic()}`);
          return summary;
        } catch (error) {
          if (!rejoin || !this.#world.isLoss(error)) throw error;
          if (this.#local) {
            line.print(`${this.#stage.name}: ${(error as Error).message}; the others go on with those who are there`);
            this.#local.lose();
            continue;
          }
          line.print(`${this.#stage.name}: ${(error as Error).message}; waiting for all processes to join again`);
          await rejoin();
          continues = true;
        }
      }
    } finally {
      await this.#log?.close();
    }
  }

  /** From the state of the process that has come furthest. @param tell whether to say where that is */
  async #goOn(tell: boolean): Promise<TrainingSummary> {
    this.#sentBefore ??= await this.#world.bytesSent();
    const meeting = this.#local && (await this.#meet(this.#local));
    if (!meeting) this.#place = await synchronize(this.#stage, this.#world, this.#intact ? this.#place : undefined);
    this.#intact = true;
    const { epoch, stepInEpoch } = this.#place;
    if (tell) {
      this.#options.progress.print(`${this.#stage.name}: going on at epoch ${epoch + 1}, step ${stepInEpoch}`);
    }
    // Those who were there before do the same when they let others in.
    if (meeting && (await this.#conclude(meeting)) === 'stop') return { finished: false, progress: this.#place };
    return this.#train();
  }

  async #train(): Promise<TrainingSummary> {
    const { settings } = this.#options;
    const begun = this.#place;
    while (this.#place.epoch < settings.epochs) {
      if (!this.#local && (await this.#stopping())) {
        if (this.#place !== begun) await this.#save();
        return { finished: false, progress: this.#place };
      }
      let started = performance.now();
      let next: AfterStep = 'step';
      for await (const batch of this.#stage.batches(this.#place.epoch, this.#place.stepInEpoch)) {
        await this.#step(batch, started);
        next = await this.#afterStep();
        if (next !== 'step') break;
        started = performance.now();
      }
      if (next === 'stop') return { finished: false, progress: this.#place };
      if (next === 'step') await this.#endEpoch();
    }
    await this.#save();
    return { finished: true, progress: this.#place };
  }

  /** Whether any process has been asked to. */
  #stopping(): Promise<boolean> {
    return this.#world.any(this.#options.stopRequested());
  }

  /** Stops, saves and meets the others where it is time to. */
  async #afterStep(): Promise<AfterStep> {
    if (!this.#local) {
      const stops = await this.#stopping();
      if (stops || this.#savesNow()) await this.#save();
      return stops ? 'stop' : 'step';
    }
    const { epoch, stepInEpoch, globalStep } = this.#place;
    const isLast = epoch === this.#options.settings.epochs - 1 && stepInEpoch === this.#stage.stepsPerEpoch;
    if (!this.#local.isDue(globalStep, isLast)) return 'step';
    return this.#conclude(await this.#meet(this.#local));
  }

  /** What all do after a meeting. */
  async #conclude({ stops, saves, moved }: Meeting): Promise<AfterStep> {
    if (this.#validates) await this.#validate();
    if ((stops || saves) && this.#place.globalStep > 0) await this.#save();
    return stops ? 'stop' : moved ? 'moved' : 'step';
  }

  #savesNow(): boolean {
    return performance.now() - this.#lastSave > this.#options.settings.checkpointSeconds * 1000;
  }

  /** The end of a round of local steps, or the first meeting. */
  async #meet(local: LocalSteps): Promise<Meeting> {
    const meeting = await local.meet({
      place: this.#place,
      validates: this.#validates,
      stops: this.#options.stopRequested(),
      saves: this.#savesNow(),
    });
    this.#place = meeting.place;
    this.#validates = meeting.validates;
    const { contributors, distance, milliseconds } = meeting;
    if (contributors.length > 0) {
      this.#exchanged = {
        rounds: this.#exchanged.rounds + 1,
        milliseconds: this.#exchanged.milliseconds + milliseconds,
      };
      const bytes = await this.#world.bytesSent();
      const round = { contributors: contributors.length, distance, exchange_ms: milliseconds, bytes_sent: bytes };
      this.#log?.scalars(prefixed('round/', round), this.#place.globalStep);
    }
    return meeting;
  }

  /** @param started when waiting for the batch began */
  async #step(batch: Batch, started: number): Promise<void> {
    const { settings, progress: line } = this.#options;
    const stage = this.#stage;
    const { epoch, globalStep, stepInEpoch } = this.#place;
    const learningRate = learningRates(settings, stage.stepsPerEpoch)(globalStep);
    const onChange = (): void => void (this.#intact = false);
    const metrics = await stage.step(batch, { epoch, globalStep, learningRate, onChange });
    this.#place = { ...this.#place, stepInEpoch: stepInEpoch + 1, globalStep: globalStep + 1 };
    this.#intact = true;
    this.#options.onStep?.(this.#place.globalStep, metrics);
    this.#skippedInARow = metrics['skipped'] ? this.#skippedInARow + 1 : 0;
    if (this.#skippedInARow > 0) {
      reportSkipped(this.#skippedInARow, this.#place.globalStep, settings.learningRate, line);
    }
    const seconds = (performance.now() - started) / 1000;
    this.#secondsPerStep = this.#secondsPerStep === 0 ? seconds : 0.9 * this.#secondsPerStep + 0.1 * seconds;
    const imagesPerSecond = stage.batchSize / this.#secondsPerStep;
    this.#smoothed.add(metrics);
    if (this.#place.globalStep % LOG_STEPS === 0) {
      const speed = { learning_rate: learningRate, images_per_second: imagesPerSecond };
      this.#log?.scalars(prefixed('train/', { ...metrics, ...speed }), this.#place.globalStep);
    }
    const stepsLeft = (settings.epochs - epoch) * stage.stepsPerEpoch - this.#place.stepInEpoch;
    line.update({
      stage: stage.name,
      epoch,
      epochs: settings.epochs,
      step: this.#place.stepInEpoch,
      stepsPerEpoch: stage.stepsPerEpoch,
      metrics: this.#smoothed.values,
      imagesPerSecond,
      secondsLeft: stepsLeft * this.#secondsPerStep,
    });
  }

  async #endEpoch(): Promise<void> {
    this.#place = { ...this.#place, epoch: this.#place.epoch + 1, stepInEpoch: 0 };
    // In the middle of a round each process has parameters of its own.
    if (this.#local && !this.#local.isBetweenRounds(this.#place.globalStep)) this.#validates = true;
    else await this.#validate();
  }

  async #validate(): Promise<void> {
    const { settings, progress: line, out } = this.#options;
    const stage = this.#stage;
    this.#validates = false;
    const { epoch, globalStep, bestScore } = this.#place;
    const validation = await stage.validate();
    if (validation) {
      const { score, metrics } = validation;
      this.#log?.scalars(prefixed('validation/', metrics), globalStep);
      const shown = Object.entries(metrics).map(([name, value]) => `${name} ${value.toPrecision(5)}`);
      line.print(`${stage.name}: epoch ${epoch}/${settings.epochs} validation  ${shown.join('  ')}`);
      if (Number.isFinite(score) && (bestScore === null || score < bestScore)) {
        this.#place = { ...this.#place, bestScore: score };
        if (this.#world.isFirst) {
          await this.#folder.saveBest(this.#place, this.#state());
          await writeModel(join(out, BEST_FOLDER), stage.model());
        }
      }
    }
    if (!this.#world.isFirst) return;
    for (const [tag, image] of await stage.illustrate()) {
      const png = await encodeImage(image, { format: 'png' });
      this.#log?.image(tag, { png, width: image.width, height: image.height }, globalStep);
    }
  }

  async #save(): Promise<void> {
    this.#lastSave = performance.now();
    if (!this.#world.isFirst) {
      // What is this process's own in a training of local steps; rank 0 comes last, so that all go on from there.
      if (this.#local) await this.#folder.save(this.#place, this.#state());
      if (this.#local) await this.#world.any(false);
      return;
    }
    if (this.#local) await this.#world.any(false);
    await this.#folder.save(this.#place, this.#state());
    await writeModel(this.#options.out, this.#stage.model());
    this.#lastSave = performance.now();
  }

  /** What this process has sent for the steps since it was started, in words. */
  async #traffic(): Promise<string> {
    const megabytes = (((await this.#world.bytesSent()) - (this.#sentBefore ?? 0)) / 1e6).toFixed(1);
    const { rounds, milliseconds } = this.#exchanged;
    const exchanges = this.#local ? ` in ${rounds} rounds, whose ends took ${(milliseconds / 1000).toFixed(1)} s` : '';
    return `rank ${this.#world.rank} sent ${megabytes} MB over the network${exchanges}`;
  }

  #state(): StageState {
    const { tensors, notes } = this.#stage.state();
    return { tensors: this.#local ? [...tensors, ...this.#local.tensors()] : tensors, notes };
  }

  #restore({ tensors, notes, progress }: Checkpoint): void {
    this.#stage.restore(tensors, notes);
    this.#local?.begin(progress.globalStep, tensors);
  }
}

/** `moved`: the place has become another. */
type AfterStep = 'step' | 'stop' | 'moved';

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
