import { Command, Option } from 'commander';
import { openStage, type StageFlags, type StageName } from './open-stage.ts';
import { checkFolder } from './model-folder.ts';
import { OutLock } from './out-lock.ts';
import { ProgressLine } from './progress-line.ts';
import { readSettings } from './settings-file.ts';
import { STOPPED_EXIT_CODE, StoppedEarly, StopSignal } from './stop-signal.ts';

interface TrainFlags extends StageFlags {
  readonly config?: string;
  readonly set: readonly string[];
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
    if (stage === 'vqgan') {
      command.option(
        '--tokens-of <folder>',
        'a trained VQGAN: keep its encoder and codebook, and train a decoder for its tokens alone',
      );
    }
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

async function trainStage(name: StageName, flags: TrainFlags): Promise<number> {
  let running = false;
  const line = new ProgressLine(process.stdout, undefined, () => stop.request());
  const stop = new StopSignal(() => {
    line.print(running ? 'stopping after this step; the checkpoint comes first' : 'stopping before the first step');
  });
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error;
    line.silence();
    stop.request();
  };
  process.stdout.on('error', onOutputError);
  try {
    const settings = await readSettings(flags.config, flags.set);
    await checkFolder(flags.out);
    await OutLock.check(flags.out);
    const { run, close } = await openStage(name, flags, settings, line, stop);
    try {
      running = true;
      const { finished, progress } = await run({
        out: flags.out,
        progress: line,
        stopRequested: () => stop.requested,
      });
      if (finished) line.print(`${name}: done after ${progress.globalStep} steps; the model is in ${flags.out}`);
      else line.print(`${name}: stopped at step ${progress.globalStep}; run the same command to go on`);
      return finished ? 0 : STOPPED_EXIT_CODE;
    } finally {
      await close();
    }
  } catch (error) {
    if (!(error instanceof StoppedEarly)) throw error;
    line.print(`${name}: stopped before the first step; run the same command to begin again`);
    // Nothing has been opened for writing yet; decoding threads would hold the process until the last picture.
    if (stop.abandoned) process.exit(STOPPED_EXIT_CODE);
    return STOPPED_EXIT_CODE;
  } finally {
    stop.dispose();
    // A write that failed just now is told in the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    process.stdout.off('error', onOutputError);
  }
}
