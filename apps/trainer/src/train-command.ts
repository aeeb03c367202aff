import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clipConfigSchema } from '@clip-gen/clip';
import { isValidationFile, openImageDataset, type ImageDataset } from '@clip-gen/datasets';
import { ClipGenError } from '@clip-gen/errors';
import { vqganConfigSchema } from '@clip-gen/vqgan';
import { Command, Option } from 'commander';
import { clipTrainingSchema, gptTrainingSchema, parseTraining, vqganTrainingSchema } from './config.ts';
import { loadFrozen } from './frozen-weights.ts';
import { readModelConfig } from './model-folder.ts';
import { ProgressLine } from './progress-line.ts';
import type { Stage } from './stage.ts';
import { ClipStage } from './stages/clip-stage.ts';
import { GptStage } from './stages/gpt-stage.ts';
import { VqganStage } from './stages/vqgan-stage.ts';
import { STOPPED_EXIT_CODE, StopSignal } from './stop-signal.ts';
import { runTraining, type LoopOptions, type TrainingSummary } from './training-loop.ts';

interface TrainFlags {
  readonly data: string;
  readonly out: string;
  readonly config?: string;
  readonly set: readonly string[];
  readonly vqgan?: string;
  readonly clip?: string;
}

/** `clip-gen train clip|vqgan|gpt`, as a command of the command line. */
export function trainCommand(): Command {
  const train = new Command('train').description('Train one of the three models on a folder of pictures');
  train.addHelpText(
    'after',
    `
A model is trained in three stages, each into a folder of its own:

  clip-gen train clip  --data photos --out my-model/clip     # pictures with captions.jsonl; or bring a trained CLIP
  clip-gen train vqgan --data photos --out my-model/vqgan    # pictures alone
  clip-gen train gpt   --data photos --out my-model/gpt --vqgan my-model/vqgan --clip my-model/clip
  clip-gen generate "a red bicycle" --model my-model

Ctrl-C writes a checkpoint and leaves with exit code ${STOPPED_EXIT_CODE}; the same command goes on exactly where it stopped.
Watch with: tensorboard --logdir my-model`,
  );
  for (const stage of ['clip', 'vqgan', 'gpt'] as const) {
    const command = train
      .command(stage)
      .description(DESCRIPTIONS[stage])
      .requiredOption('--data <folder>', 'pictures: png, jpeg, webp, also in subfolders')
      .requiredOption('--out <folder>', 'where the model, its checkpoints and TensorBoard events go')
      .option('--config <file>', 'settings as JSON; see the README of the trainer for all of them')
      .addOption(
        new Option('--set <name=value>', 'one setting, e.g. --set epochs=10 --set augmentation.flip=true')
          .argParser((value: string, before: string[]) => [...before, value])
          .default([] as string[], 'none'),
      )
      .action(async (flags: TrainFlags) => {
        process.exitCode = await trainStage(stage, flags);
      });
    if (stage === 'gpt') {
      command
        .requiredOption('--vqgan <folder>', 'the trained VQGAN')
        .requiredOption('--clip <folder>', 'the trained CLIP');
    }
  }
  return train;
}

const DESCRIPTIONS = {
  clip: 'Pictures and captions into one space (the only stage that reads text)',
  vqgan: 'Pictures to tokens and back',
  gpt: 'From a CLIP embedding to tokens, on pictures alone',
} as const;

async function trainStage(name: 'clip' | 'vqgan' | 'gpt', flags: TrainFlags): Promise<number> {
  const line = new ProgressLine(process.stdout);
  const settings = await readSettings(flags);
  const { run, close } = await openStage(name, flags, settings, line);
  const stop = new StopSignal(() => line.print('stopping after this step; the checkpoint comes first'));
  try {
    const { finished, progress } = await run({
      out: flags.out,
      progress: line,
      stopRequested: () => stop.requested,
    });
    if (finished) line.print(`${name}: done after ${progress.globalStep} steps; the model is in ${flags.out}`);
    else line.print(`${name}: stopped at step ${progress.globalStep}; run the same command to go on`);
    return finished ? 0 : STOPPED_EXIT_CODE;
  } finally {
    stop.dispose();
    await close();
  }
}

interface OpenedStage {
  run(options: Omit<LoopOptions, 'settings' | 'identity'>): Promise<TrainingSummary>;
  close(): Promise<void>;
}

async function openStage(
  name: 'clip' | 'vqgan' | 'gpt',
  flags: TrainFlags,
  given: unknown,
  line: ProgressLine,
): Promise<OpenedStage> {
  const datasets: ImageDataset[] = [];
  const open = async (imageSize: number, captions: boolean, fraction: number) => {
    const dataset = await openImageDataset({
      root: flags.data,
      imageSize,
      captions,
      warn: (message) => line.print(message),
    });
    datasets.push(dataset);
    const { found, readable, broken, uncaptioned } = dataset.summary;
    line.print(
      `${flags.data}: ${readable} of ${found} pictures` +
        (broken.length > 0 ? `, ${broken.length} unreadable left out` : '') +
        (uncaptioned > 0 ? `, ${uncaptioned} without a caption left out` : ''),
    );
    return split(dataset, fraction);
  };
  const finish = <B>(stage: Stage<B>, settings: LoopOptions['settings'], data: ImageDataset): OpenedStage => ({
    run: (options) => runTraining(stage, { ...options, settings, identity: identityOf(settings, data) }),
    close: async () => {
      await stage.close();
      for (const dataset of datasets) await dataset.close();
    },
  });
  switch (name) {
    case 'clip': {
      const settings = parseTraining(clipTrainingSchema, given);
      const { training, validation } = await open(
        ClipStage.config(settings).vision.imageSize,
        true,
        settings.validationFraction,
      );
      return finish(ClipStage.create(settings, training, validation), settings, training);
    }
    case 'vqgan': {
      const settings = parseTraining(vqganTrainingSchema, given);
      const { training, validation } = await open(
        VqganStage.config(settings).imageSize,
        false,
        settings.validationFraction,
      );
      return finish(await VqganStage.create(settings, training, validation), settings, training);
    }
    case 'gpt': {
      const settings = parseTraining(gptTrainingSchema, given);
      const [vqgan, clip] = [flags.vqgan!, flags.clip!];
      const frozen = {
        vqgan: {
          folder: vqgan,
          config: await readModelConfig(vqgan, vqganConfigSchema),
          weights: await loadFrozen(vqgan, ''),
        },
        clip: {
          folder: clip,
          config: await readModelConfig(clip, clipConfigSchema),
          weights: await loadFrozen(clip, ''),
        },
      };
      const { training, validation } = await open(frozen.vqgan.config.imageSize, false, settings.validationFraction);
      const cache = join(flags.out, 'cache');
      return finish(await GptStage.create(settings, frozen, training, validation, cache, line), settings, training);
    }
  }
}

/** Training and validation pictures by the hash of their path; no validation when none falls to it. */
function split(dataset: ImageDataset, fraction: number): { training: ImageDataset; validation?: ImageDataset } {
  const held = dataset.files.filter((file) => isValidationFile(file, fraction)).length;
  if (held === 0 || held === dataset.length) return { training: dataset };
  return {
    training: dataset.subset((file) => !isValidationFile(file, fraction)),
    validation: dataset.subset((file) => isValidationFile(file, fraction)),
  };
}

/** Settings that may change between two runs of one training without changing its numbers. */
const FREE = ['checkpointSeconds', 'threads', 'validationBatches'];

function identityOf(settings: object, data: ImageDataset): string {
  const kept = Object.entries(settings).filter(([name]) => !FREE.includes(name));
  return JSON.stringify({ settings: Object.fromEntries(kept), data: data.fingerprint() });
}

/** The file given by --config with each --set applied over it. */
async function readSettings(flags: TrainFlags): Promise<Record<string, unknown>> {
  let settings: Record<string, unknown> = {};
  if (flags.config !== undefined) {
    const text = await readFile(flags.config, 'utf8').catch((cause: unknown) => {
      throw new ClipGenError('not_found', `--config ${flags.config} cannot be read`, { cause });
    });
    try {
      settings = JSON.parse(text) as Record<string, unknown>;
    } catch (cause) {
      throw new ClipGenError('data_corrupt', `--config ${flags.config} is not JSON: ${(cause as Error).message}`, {
        cause,
      });
    }
    if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
      throw new ClipGenError('data_corrupt', `--config ${flags.config} must hold a JSON object`);
    }
  }
  for (const assignment of flags.set) assign(settings, assignment);
  return settings;
}

/** Applies `a.b=value`; the value is JSON where it parses as JSON, else a string. */
export function assign(settings: Record<string, unknown>, assignment: string): void {
  const at = assignment.indexOf('=');
  if (at <= 0)
    throw new ClipGenError('invalid_argument', `--set must be name=value; got ${JSON.stringify(assignment)}`);
  const path = assignment.slice(0, at).split('.');
  const text = assignment.slice(at + 1);
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // a plain string
  }
  let target = settings;
  for (const name of path.slice(0, -1)) {
    const inner = Object.hasOwn(target, name) ? target[name] : undefined;
    if (typeof inner === 'object' && inner !== null) target = inner as Record<string, unknown>;
    else {
      const fresh: Record<string, unknown> = {};
      Object.defineProperty(target, name, { value: fresh, enumerable: true, writable: true, configurable: true });
      target = fresh;
    }
  }
  Object.defineProperty(target, path.at(-1)!, { value, enumerable: true, writable: true, configurable: true });
}
