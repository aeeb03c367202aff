import { availableParallelism } from 'node:os';
import { bindToCoreShare } from '@clip-gen/all-reduce';
import { ClipGenError } from '@clip-gen/errors';
import { Command, Option } from 'commander';
import { environment } from './config.ts';
import { TrainingOver } from './distributed/arrive.ts';
import { launchLocally, tellLauncher, withoutOptions } from './distributed/launch.ts';
import { integer } from './distributed/number-option.ts';
import { readRank, type RankEnvironment } from './distributed/rank-environment.ts';
import { World } from './distributed/world.ts';
import { openStage, type StageFlags, type StageName } from './open-stage.ts';
import { checkFolder } from './model-folder.ts';
import { OutLock } from './out-lock.ts';
import { ProgressLine } from './progress-line.ts';
import { assign, readSettings } from './settings-file.ts';
import { STOPPED_EXIT_CODE, StoppedEarly, StopSignal } from './stop-signal.ts';

interface TrainFlags extends StageFlags {
  readonly config?: string;
  readonly set: readonly string[];
  readonly nproc?: number;
  readonly accumulate?: number;
  readonly localSteps?: number;
  readonly deltaBits?: number;
  readonly maxRestarts?: number;
  readonly bind?: boolean;
}

/** `clip-gen train clip|vqgan|gpt|preview`, as a command of the command line. */
export function trainCommand(): Command {
  const train = new Command('train').description('Train a network of a model on a folder of pictures');
  train.addHelpText(
    'after',
    `
A model is trained in three stages, each into a folder of its own:

  clip-gen train clip  --data photos --out my-model/clip     # pictures with captions.jsonl; or bring a trained CLIP
  clip-gen train vqgan --data photos --out my-model/vqgan    # pictures alone
  clip-gen train gpt   --data photos --out my-model/gpt --vqgan my-model/vqgan --clip my-model/clip
  clip-gen generate "a red bicycle" --model my-model

A small decoder of previews, many times faster than the VQGAN's, can follow:

  clip-gen train preview --data photos --out my-model/preview --vqgan my-model/vqgan
  clip-gen generate "a red bicycle" --model my-model --decoder preview

Ctrl-C (or SIGTERM or SIGUSR1 to any process) writes a checkpoint and leaves with exit code ${STOPPED_EXIT_CODE}; the same
command goes on exactly where it stopped.

  clip-gen train vqgan … --nproc 4            # four processes of this machine: each batch is four times as large
  clip-gen train vqgan … --nproc 4 --bind     # each keeps to a quarter of the cores
  clip-gen launch --help                      # several machines
  clip-gen launch … -- train gpt … --local-steps 50 --delta-bits 8    # over a slow network
Watch with: tensorboard --logdir my-model`,
  );
  for (const stage of ['clip', 'vqgan', 'gpt', 'preview'] as const) {
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
      .addOption(
        new Option(
          '--nproc <count>',
          'processes of this machine that train together: a batch is batchSize times these',
        ).argParser(integer(1, 1024)),
      )
      .addOption(
        new Option('--accumulate <runs>', 'runs of batchSize pictures in each process before a step').argParser(
          integer(1, 65_536),
        ),
      )
      .addOption(
        new Option(
          '--max-restarts <count>',
          'with --nproc: processes that are started again when they are lost',
        ).argParser(integer(0, 1_000_000)),
      )
      .option(
        '--bind',
        'with --nproc or launch: keep each process to its share of the cores, where nothing else wants them (Linux)',
      )
      .action(async (flags: TrainFlags) => {
        process.exitCode = await trainStage(stage, flags);
      });
    if (stage === 'vqgan' || stage === 'gpt') {
      command
        .addOption(
          new Option(
            '--local-steps <count>',
            'steps that each process takes alone between two exchanges: over slow networks; see localSteps.*',
          ).argParser(integer(1, 1_000_000)),
        )
        .addOption(
          new Option('--delta-bits <bits>', 'with --local-steps: bits of a value on its way, 8, 16 or 32').argParser(
            integer(8, 32),
          ),
        );
    }
    if (stage === 'vqgan') {
      command.option(
        '--tokens-of <folder>',
        'a trained VQGAN: keep its encoder and codebook, and train a decoder for its tokens alone',
      );
    }
    if (stage === 'preview') command.requiredOption('--vqgan <folder>', 'the trained VQGAN whose pictures it learns');
    if (stage === 'gpt') {
      command
        .requiredOption('--vqgan <folder>', 'the trained VQGAN')
        .requiredOption('--clip <folder>', 'the trained CLIP')
        .option('--start <folder>', 'a trained transformer whose weights this training starts from');
    }
  }
  return train;
}

const DESCRIPTIONS = {
  clip: 'Pictures and captions into one space (the only stage that reads text)',
  vqgan: 'Pictures to tokens and back',
  gpt: 'From a CLIP embedding to tokens, on pictures alone',
  preview: "Tokens to the VQGAN's pictures by a small network, for previews",
} as const;

/** Why the others end when one process was stopped before the first step. */
const STOPPED = 'stopped before the first step';

async function trainStage(name: StageName, flags: TrainFlags): Promise<number> {
  const rank = readRank(environment());
  if (flags.nproc !== undefined && flags.nproc > 1) return launchHere(flags, rank !== undefined);
  const speaks = (rank?.rank ?? 0) === 0;
  let running = false;
  const line = new ProgressLine(process.stdout, undefined, () => stop.request());
  if (!speaks) line.silence();
  const stop = new StopSignal(() => {
    line.print(running ? 'stopping after this step; the checkpoint comes first' : STOPPING_EARLY);
  });
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== 'EPIPE') throw error;
    line.silence();
    stop.request();
  };
  process.stdout.on('error', onOutputError);
  let world = World.alone();
  try {
    const settings = await readSettings(flags.config, flags.set);
    if (flags.accumulate !== undefined) settings['accumulate'] = flags.accumulate;
    if (flags.localSteps !== undefined) assign(settings, `localSteps.steps=${flags.localSteps}`);
    if (flags.deltaBits !== undefined) assign(settings, `localSteps.deltaBits=${flags.deltaBits}`);
    if (rank) settings['threads'] ||= threadsOfOne(rank.localWorldSize);
    // After the threads have been counted: there are fewer cores to see from here on.
    if (flags.bind) line.print(`${name}: ${bindToCores(rank)}`);
    if (speaks) {
      await checkFolder(flags.out);
      await OutLock.check(flags.out);
    }
    if (rank) {
      if (settings['localSteps'] === undefined) {
        world = await stop.during(World.join(rank), (late) => late.close());
        tellLauncher(world);
      } else {
        const elastic = World.elastic(rank, async (entering) => {
          await stop.during(entering, () => elastic.close());
          tellLauncher(elastic);
        });
        world = elastic;
      }
      line.print(`${name}: ${world.size} processes train together`);
    }
    const { run, close } = await openStage(name, flags, settings, line, stop, world);
    try {
      running = true;
      const { finished, progress } = await run({
        out: flags.out,
        progress: line,
        stopRequested: () => stop.requested,
        ...(rank?.elastic || world.isElastic ? { rejoin: () => rejoin(world, stop) } : {}),
      });
      if (finished) line.print(`${name}: done after ${progress.globalStep} steps; the model is in ${flags.out}`);
      else line.print(`${name}: stopped at step ${progress.globalStep}; run the same command to go on`);
      return finished ? 0 : STOPPED_EXIT_CODE;
    } finally {
      await close();
    }
  } catch (error) {
    if (error instanceof TrainingOver) return 0;
    const stoppedElsewhere = error instanceof ClipGenError && error.message.endsWith(STOPPED);
    if (!(error instanceof StoppedEarly) && !stoppedElsewhere) {
      world.abort(error instanceof Error ? error.message : String(error));
      throw error;
    }
    world.abort(STOPPED);
    line.print(`${name}: stopped before the first step; run the same command to begin again`);
    // Nothing has been opened for writing yet; decoding threads would hold the process until the last picture.
    if (stop.abandoned) {
      await world.close();
      process.exit(STOPPED_EXIT_CODE);
    }
    return STOPPED_EXIT_CODE;
  } finally {
    await world.close();
    stop.dispose();
    // A write that failed just now is told in the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    process.stdout.off('error', onOutputError);
  }
}

const STOPPING_EARLY = 'stopping before the first step';

/** Threads of the engine for each of several processes of this host. */
function threadsOfOne(processes: number): number {
  return Math.max(1, Math.floor(availableParallelism() / processes));
}

/** Carries out --bind. @returns what to say of it */
function bindToCores(rank: RankEnvironment | undefined): string {
  if (!rank) return '--bind does nothing to one process; see --nproc and launch --help';
  const { localRank, localWorldSize } = rank;
  if (localWorldSize === 1) {
    return '--bind does nothing: LOCAL_WORLD_SIZE names no other process of this machine';
  }
  const cores = bindToCoreShare(localRank, localWorldSize);
  if (!cores) return '--bind does nothing: a process cannot choose its cores here';
  return `rank ${rank.rank} keeps to ${cores.length === 1 ? 'core' : 'cores'} ${cores.join(', ')}`;
}

/** After a loss: another process can be lost while they come together again. */
async function rejoin(world: World, stop: StopSignal): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      const { introduces } = await stop.during(world.rejoin(), () => world.close());
      tellLauncher(world);
      return introduces;
    } catch (error) {
      if (tries === REJOIN_TRIES || !world.isLoss(error)) throw error;
    }
  }
}

const REJOIN_TRIES = 3;

/** Starts the same command as several processes of this host. */
function launchHere({ nproc, maxRestarts }: TrainFlags, isRank: boolean): Promise<number> {
  if (isRank) {
    const message = '--nproc must not be given to a process that has RANK and WORLD_SIZE: it is one of several already';
    throw new ClipGenError('invalid_argument', message);
  }
  const words = withoutOptions(process.argv.slice(1), ['--nproc', '--max-restarts']);
  return launchLocally([process.execPath, ...process.execArgv, ...words], nproc!, maxRestarts ?? 0);
}
