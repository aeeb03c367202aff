import { join } from 'node:path';
import { clipConfigSchema } from '@clip-gen/clip';
import { isValidationFile, openImageDataset, type ImageDataset } from '@clip-gen/datasets';
import { gptConfigSchema } from '@clip-gen/gpt';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import {
  clipTrainingSchema,
  gptTrainingSchema,
  parseTraining,
  previewTrainingSchema,
  vqganTrainingSchema,
} from './config.ts';
import { batchShare, wholeBatches } from './distributed/batch-share.ts';
import { agree } from './distributed/synchronize.ts';
import type { World } from './distributed/world.ts';
import { loadFrozenModel } from './frozen-weights.ts';
import { identityOf } from './identity.ts';
import { prepareFolder } from './model-folder.ts';
import { OutLock } from './out-lock.ts';
import type { ProgressLine } from './progress-line.ts';
import type { Stage } from './stage.ts';
import { ClipStage } from './stages/clip-stage.ts';
import type { PictureTokens } from './stages/encode-pictures.ts';
import { GptStage } from './stages/gpt-stage.ts';
import { loadPerceptual } from './stages/perceptual.ts';
import { PreviewStage } from './stages/preview-stage.ts';
import { sharedPictureTokens } from './stages/token-cache.ts';
import { VqganStage } from './stages/vqgan-stage.ts';
import type { StopSignal } from './stop-signal.ts';
import { runTraining, type LoopOptions, type TrainingSummary } from './training-loop.ts';

export type StageName = 'clip' | 'vqgan' | 'gpt' | 'preview';

/** What a stage is made from, besides its settings. */
export interface StageFlags {
  /** Folder of pictures. */
  readonly data: string;
  readonly out: string;
  /** Folder of a trained VQGAN whose tokens are kept, for `vqgan`. */
  readonly tokensOf?: string;
  /** Folder of the trained VQGAN, for `gpt` and `preview`. */
  readonly vqgan?: string;
  /** Folder of the trained CLIP, for `gpt`. */
  readonly clip?: string;
  /** Folder of a trained transformer to start from, for `gpt`. */
  readonly start?: string;
}

export interface OpenedStage {
  run(
    options: Omit<LoopOptions, 'settings' | 'identity' | 'world' | 'rejoin'> & {
      /** Brings the processes together again. @returns whether one of them has just been started */
      readonly rejoin?: () => Promise<boolean>;
    },
  ): Promise<TrainingSummary>;
  close(): Promise<void>;
}

/** Pictures, parted. */
interface Pictures {
  readonly training: ImageDataset;
  readonly validation?: ImageDataset;
  close(): Promise<void>;
}

/**
 * Opens the data and builds a stage over it, which the caller closes. `--out` is made, and locked until then, when
 * settings and data have been checked.
 *
 * @param given settings, not checked yet
 * @param world the processes that train together: rank 0 makes and locks `--out`, all must have the same pictures
 * @throws StoppedEarly when `stop` is requested meanwhile
 * @throws invalid_argument, not_found, data_corrupt, failed_precondition: one line each that names what to change
 */
export async function openStage(
  name: StageName,
  flags: StageFlags,
  given: unknown,
  line: ProgressLine,
  stop: StopSignal,
  world: World,
): Promise<OpenedStage> {
  switch (name) {
    case 'clip': {
      const settings = parseTraining(clipTrainingSchema, given);
      const { imageSize } = ClipStage.config(settings).vision;
      const pictures = await openPictures(flags.data, imageSize, true, settings.validationFraction, line, stop);
      return finish(pictures, flags.out, settings, world, undefined, ({ training, validation }) => ({
        stage: ClipStage.create(settings, training, validation, world),
      }));
    }
    case 'vqgan': {
      const settings = parseTraining(vqganTrainingSchema, given);
      const { imageSize } = VqganStage.config(settings);
      const perceptual = await loadPerceptual(settings.perceptual);
      const tokensOf =
        flags.tokensOf === undefined ? undefined : await loadFrozenModel(flags.tokensOf, vqganConfigSchema);
      const pictures = await openPictures(flags.data, imageSize, false, settings.validationFraction, line, stop);
      return finish(
        pictures,
        flags.out,
        settings,
        world,
        tokensOf ? [perceptual.hash, tokensOf.hash].join(' ') : perceptual.hash,
        ({ training, validation }) => ({
          stage: new VqganStage(settings, perceptual, training, validation, tokensOf, world),
        }),
      );
    }
    case 'gpt': {
      const settings = parseTraining(gptTrainingSchema, given);
      const frozen = {
        vqgan: await loadFrozenModel(flags.vqgan!, vqganConfigSchema),
        clip: await loadFrozenModel(flags.clip!, clipConfigSchema),
      };
      const start = flags.start === undefined ? undefined : await loadFrozenModel(flags.start, gptConfigSchema);
      GptStage.config(settings, frozen); // what does not fit is refused before pictures are read and encoded
      const { imageSize } = frozen.vqgan.config;
      const pictures = await openPictures(flags.data, imageSize, false, settings.validationFraction, line, stop);
      const cache = {
        folder: join(flags.out, 'cache'),
        root: flags.data,
        threads: settings.threads,
        line,
        checkStop: () => stop.check(),
      };
      const tokensOf = (dataset: ImageDataset, known?: PictureTokens): Promise<PictureTokens> =>
        sharedPictureTokens(dataset, frozen, cache, world, known);
      return finish(
        pictures,
        flags.out,
        settings,
        world,
        [frozen.vqgan.hash, frozen.clip.hash, ...(start ? [start.hash] : [])].join(' '),
        async ({ training, validation }) => {
          const [own, held] = [await tokensOf(training), validation && (await tokensOf(validation))];
          const introduce = async (): Promise<void> => {
            await tokensOf(training, own);
            if (validation) await tokensOf(validation, held);
          };
          return { stage: new GptStage(settings, frozen, own, held, world, start), introduce };
        },
      );
    }
    case 'preview': {
      const settings = parseTraining(previewTrainingSchema, given);
      const vqgan = await loadFrozenModel(flags.vqgan!, vqganConfigSchema);
      PreviewStage.config(settings, vqgan); // what does not fit is refused before pictures are read
      const perceptual = await loadPerceptual(settings.perceptual);
      const { imageSize } = vqgan.config;
      const pictures = await openPictures(flags.data, imageSize, false, settings.validationFraction, line, stop);
      const frozenHash = perceptual.hash === undefined ? vqgan.hash : `${vqgan.hash} ${perceptual.hash}`;
      return finish(pictures, flags.out, settings, world, frozenHash, async ({ training, validation }) => {
        const sources = { vqgan, perceptual, training, ...(validation && { validation }) };
        const keeping = { folder: join(flags.out, 'cache'), root: flags.data, line, checkStop: () => stop.check() };
        return { stage: await PreviewStage.create(settings, sources, keeping, world) };
      });
    }
  }
}

interface Built<B> {
  readonly stage: Stage<B>;
  /** Takes part in what the building of another process's stage asks of all. */
  readonly introduce?: () => Promise<void>;
}

/** Builds the stage; when that fails, the pictures are closed, whose threads would keep the process alive. */
async function finish<B>(
  pictures: Pictures,
  out: string,
  settings: LoopOptions['settings'] & { readonly batchSize: number; readonly accumulate: number },
  world: World,
  frozenHash: string | undefined,
  build: (pictures: Pictures) => Built<B> | Promise<Built<B>>,
): Promise<OpenedStage> {
  let lock: OutLock | undefined;
  try {
    const share = batchShare(settings, world);
    wholeBatches(pictures.training.length, share);
    const identity = identityOf(settings, share, pictures.training, frozenHash);
    if (settings.localSteps) await world.enter(settings.localSteps.lateSeconds * 1000);
    await agree(identity, world);
    if (world.isFirst) {
      await prepareFolder(out);
      lock = await OutLock.acquire(out);
    }
    const { stage, introduce } = await build(pictures);
    const held = lock;
    return {
      run: ({ rejoin, ...options }) => {
        // What a process that was started again does before its training, the others do with it.
        const meetAgain =
          rejoin &&
          (async (): Promise<void> => {
            const introduces = await rejoin();
            if (world.isElastic && !introduces) return;
            await agree(identity, world);
            await introduce?.();
          });
        return runTraining(stage, { ...options, ...(meetAgain && { rejoin: meetAgain }), settings, identity, world });
      },
      close: async () => {
        await stage.close();
        await pictures.close();
        await held?.release();
      },
    };
  } catch (error) {
    await pictures.close();
    await lock?.release();
    throw error;
  }
}

/** Training and validation pictures by the hash of their path; no validation when none falls to it. */
async function openPictures(
  root: string,
  imageSize: number,
  captions: boolean,
  validationFraction: number,
  line: ProgressLine,
  stop: StopSignal,
): Promise<Pictures> {
  const warn = (message: string): void => line.print(message);
  const opening = openImageDataset({ root, imageSize, captions, warn });
  const dataset = await stop.during(opening, (late) => late.close());
  const { found, readable, broken, uncaptioned } = dataset.summary;
  line.print(
    `${root}: ${readable} of ${found} pictures` +
      (broken.length > 0 ? `, ${broken.length} unreadable left out` : '') +
      (uncaptioned > 0 ? `, ${uncaptioned} without a caption left out` : ''),
  );
  const close = (): Promise<void> => dataset.close();
  const isHeld = (file: string): boolean => isValidationFile(file, validationFraction);
  const held = dataset.files.filter(isHeld).length;
  if (held === 0 || held === dataset.length) return { training: dataset, close };
  return { training: dataset.subset((file) => !isHeld(file)), validation: dataset.subset(isHeld), close };
}
