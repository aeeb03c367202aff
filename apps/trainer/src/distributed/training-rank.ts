// One rank of small trainings as a process of its own, for tests: trainings as JSON in its argument. Each training's
// losses and the hash of what it ends with go to `<report>-<rank>.json` in its --out.
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { environment } from '../config.ts';
import type { Metrics, Stage } from '../stage.ts';
import { ClipStage } from '../stages/clip-stage.ts';
import { GptStage } from '../stages/gpt-stage.ts';
import { PreviewStage } from '../stages/preview-stage.ts';
import { sharedPictureTokens } from '../stages/token-cache.ts';
import { VqganStage } from '../stages/vqgan-stage.ts';
import {
  loadFrozenModels,
  openPictures,
  recordedLine,
  tinyClipTraining,
  tinyGptTraining,
  tinyPreviewTraining,
  tinyVqganTraining,
} from '../tiny-trainings.ts';
import { runTraining, type LoopOptions } from '../training-loop.ts';
import { tellLauncher } from './launch.ts';
import { readRank } from './rank-environment.ts';
import { World } from './world.ts';

/** One training of this file. */
export interface RankTraining {
  readonly stage: 'clip' | 'vqgan' | 'gpt' | 'preview';
  /** Changes of the tiny settings. */
  readonly settings: object;
  readonly pictures: string;
  readonly imageSize: number;
  /** Folder of frozen models, for `gpt` and `preview`. */
  readonly models: string;
  readonly out: string;
  /** Names its report. */
  readonly report: string;
  /** Pictures held back: the first so many by name. */
  readonly held?: number;
  /** Stop after so many steps of all: only `stoppingRank` asks for it. */
  readonly stopAfter?: number;
  readonly stoppingRank?: number;
  /** This rank ends itself by SIGKILL, once, after `killAfter` steps of all. */
  readonly killRank?: number;
  readonly killAfter?: number;
  /** A rank that was started again asks to stop after two steps. */
  readonly stopsWhenBack?: boolean;
}

/** What a rank says of a training. */
export interface RankReport {
  readonly metrics: readonly Metrics[];
  /** By tensor, SHA-256 of its bytes. */
  readonly state: Readonly<Record<string, string>>;
  readonly finished: boolean;
  readonly bestScore: number | null;
  readonly epoch: number;
  /** What its progress line printed, where steps are local: each process says its own. */
  readonly said: readonly string[];
}

/** Runs a training of this world. */
export async function trainTiny(training: RankTraining, world: World): Promise<RankReport> {
  const { pictures, imageSize, held = 0, out } = training;
  const dataset = await openPictures(pictures, imageSize, training.stage === 'clip');
  const heldFiles = new Set(dataset.files.slice(0, held));
  const own = dataset.subset((file) => !heldFiles.has(file));
  const validation = held > 0 ? dataset.subset((file) => heldFiles.has(file)) : undefined;
  try {
    if (training.stage === 'clip') {
      const settings = tinyClipTraining(training.settings);
      return await report(ClipStage.create(settings, own, validation, world), settings, training, world);
    }
    if (training.stage === 'vqgan') {
      const settings = tinyVqganTraining(training.settings);
      const none = { network: { kind: 'none' }, weights: {} } as const;
      return await report(new VqganStage(settings, none, own, validation, undefined, world), settings, training, world);
    }
    const frozen = await loadFrozenModels(training.models);
    if (training.stage === 'preview') {
      const settings = tinyPreviewTraining(training.settings);
      const perceptual = { network: { kind: 'none' }, weights: {} } as const;
      const sources = { vqgan: frozen.vqgan, perceptual, training: own, ...(validation && { validation }) };
      const keeping = {
        folder: join(out, 'cache'),
        root: pictures,
        line: recordedLine().line,
        checkStop: () => undefined,
      };
      const stage = await PreviewStage.create(settings, sources, keeping, world);
      return await report(stage, settings, training, world);
    }
    const settings = tinyGptTraining(training.settings);
    const cache = { folder: join(out, 'cache'), root: pictures, threads: 1, line: recordedLine().line };
    const tokens = await sharedPictureTokens(own, frozen, cache, world);
    const heldTokens = validation && (await sharedPictureTokens(validation, frozen, cache, world));
    const introduce = async (): Promise<void> => {
      await sharedPictureTokens(own, frozen, cache, world, tokens);
      if (validation) await sharedPictureTokens(validation, frozen, cache, world, heldTokens);
    };
    const stage = new GptStage(settings, frozen, tokens, heldTokens, world);
    return await report(stage, settings, training, world, introduce);
  } finally {
    await dataset.close();
  }
}

async function report<B>(
  stage: Stage<B>,
  settings: LoopOptions['settings'],
  { out, stopAfter, stoppingRank = 0, killRank, killAfter, stopsWhenBack }: RankTraining,
  world: World,
  introduce?: () => Promise<void>,
): Promise<RankReport> {
  const metrics: Metrics[] = [];
  let steps = 0;
  const started = readRank(environment())?.epoch;
  const { line, lines } = recordedLine();
  const { finished, progress } = await runTraining(stage, {
    out,
    settings,
    identity: 'test',
    world,
    progress: line,
    onStep: (globalStep, values) => {
      steps = globalStep;
      metrics.push(values);
      if (started === 0 && world.rank === killRank && steps === killAfter) process.kill(process.pid, 'SIGKILL');
    },
    stopRequested: () =>
      (steps === stopAfter && world.rank === stoppingRank) ||
      (stopsWhenBack === true && started! > 0 && metrics.length >= 2),
    rejoin: async () => {
      const { introduces } = await world.rejoin();
      tellLauncher(world);
      if (introduces) await introduce?.();
    },
  });
  const hash = ({ buffer, byteOffset, byteLength }: ArrayBufferView): string =>
    createHash('sha256')
      .update(Buffer.from(buffer, byteOffset, byteLength))
      .digest('hex');
  const state = Object.fromEntries(Array.from(stage.state().tensors, ([name, { data }]) => [name, hash(data)]));
  await stage.close();
  const said = settings.localSteps ? lines : [];
  return { metrics, state, finished, bestScore: progress.bestScore, epoch: world.epoch, said };
}

const LATE_MS = 5000;

const [, script, trainings] = process.argv;
if (script === import.meta.filename && trainings !== undefined) {
  const rank = readRank(environment());
  const list = JSON.parse(trainings) as RankTraining[];
  const isElastic = list.some(({ settings }) => 'localSteps' in settings);
  const world = rank ? (isElastic ? World.elastic(rank) : await World.join(rank)) : World.alone();
  await world.enter(LATE_MS);
  tellLauncher(world);
  for (const training of list) {
    const result = await trainTiny(training, world);
    await mkdir(training.out, { recursive: true });
    await writeFile(join(training.out, `${training.report}-${world.rank}.json`), JSON.stringify(result));
  }
  await world.close();
  process.disconnect?.();
}
