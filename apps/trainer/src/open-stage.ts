import { join } from 'node:path';
import { clipConfigSchema } from '@clip-gen/clip';
import { isValidationFile, openImageDataset, type ImageDataset } from '@clip-gen/datasets';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { clipTrainingSchema, gptTrainingSchema, parseTraining, vqganTrainingSchema } from './config.ts';
import { loadFrozenModel } from './frozen-weights.ts';
import { identityOf } from './identity.ts';
import { prepareFolder } from './model-folder.ts';
import { OutLock } from './out-lock.ts';
import type { ProgressLine } from './progress-line.ts';
import { wholeBatches, type Stage } from './stage.ts';
import { ClipStage } from './stages/clip-stage.ts';
import type { PictureTokens } from './stages/encode-pictures.ts';
import { GptStage } from './stages/gpt-stage.ts';
import { loadPerceptual } from './stages/perceptual.ts';
import { pictureTokens } from './stages/token-cache.ts';
import { VqganStage } from './stages/vqgan-stage.ts';
import type { StopSignal } from './stop-signal.ts';
import { runTraining, type LoopOptions, type TrainingSummary } from './training-loop.ts';

export type StageName = 'clip' | 'vqgan' | 'gpt';

/** What a stage is made from, besides its settings. */
export interface StageFlags {
  /** Folder of pictures. */
  readonly data: string;
  readonly out: string;
  /** Folder of a trained VQGAN whose tokens are kept, for `vqgan`. */
  readonly tokensOf?: string;
  /** Folder of the trained VQGAN, for `gpt`. */
  readonly vqgan?: string;
  /** Folder of the trained CLIP, for `gpt`. */
  readonly clip?: string;
}

export interface OpenedStage {
  run(options: Omit<LoopOptions, 'settings' | 'identity'>): Promise<TrainingSummary>;
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
 * @throws StoppedEarly when `stop` is requested meanwhile
 * @throws invalid_argument, not_found, data_corrupt, failed_precondition: one line each that names what to change
 */
export async function openStage(
  name: StageName,
  flags: StageFlags,
  given: unknown,
  line: ProgressLine,
  stop: StopSignal,
): Promise<OpenedStage> {
  switch (name) {
    case 'clip': {
      const settings = parseTraining(clipTrainingSchema, given);
      const { imageSize } = ClipStage.config(settings).vision;
      const pictures = await openPictures(flags.data, imageSize, true, settings.validationFraction, line, stop);
      return finish(pictures, flags.out, settings, undefined, ({ training, validation }) =>
        ClipStage.create(settings, training, validation),
      );
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
        tokensOf ? [perceptual.hash, tokensOf.hash].join(' ') : perceptual.hash,
        ({ training, validation }) => new VqganStage(settings, perceptual, training, validation, tokensOf),
      );
    }
    case 'gpt': {
      const settings = parseTraining(gptTrainingSchema, given);
      const frozen = {
        vqgan: await loadFrozenModel(flags.vqgan!, vqganConfigSchema),
        clip: await loadFrozenModel(flags.clip!, clipConfigSchema),
      };
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
      const tokensOf = (dataset: ImageDataset): Promise<PictureTokens> => pictureTokens(dataset, frozen, cache);
      return finish(
        pictures,
        flags.out,
        settings,
        `${frozen.vqgan.hash} ${frozen.clip.hash}`,
        async ({ training, validation }) =>
          new GptStage(settings, frozen, await tokensOf(training), validation && (await tokensOf(validation))),
      );
    }
  }
}

/** Builds the stage; when that fails, the pictures are closed, whose threads would keep the process alive. */
async function finish<B>(
  pictures: Pictures,
  out: string,
  settings: LoopOptions['settings'] & { readonly batchSize: number },
  frozenHash: string | undefined,
  build: (pictures: Pictures) => Stage<B> | Promise<Stage<B>>,
): Promise<OpenedStage> {
  let lock: OutLock | undefined;
  try {
    wholeBatches(pictures.training.length, settings.batchSize);
    await prepareFolder(out);
    lock = await OutLock.acquire(out);
    const stage = await build(pictures);
    const held = lock;
    const identity = identityOf(settings, pictures.training, frozenHash);
    return {
      run: (options) => runTraining(stage, { ...options, settings, identity }),
      close: async () => {
        await stage.close();
        await pictures.close();
        await held.release();
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
