import { randomBytes } from 'node:crypto';
import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { Command, Option } from 'commander';
import { environment } from './config.ts';
import { freePort } from './distributed/free-port.ts';
import { printError } from './distributed/launch.ts';
import { Launcher } from './distributed/launcher.ts';
import { integer } from './distributed/number-option.ts';
import { STOPPED_EXIT_CODE } from './stop-signal.ts';

interface LaunchFlags {
  readonly nnodes: number;
  readonly nodeRank: number;
  readonly nproc: number;
  readonly rendezvous?: string;
  readonly token?: string;
  readonly maxRestarts: number;
}

/** As the all-reduce library asks for. */
const LEAST_TOKEN = 8;

/** `clip-gen launch … -- train …`, as a command of the command line: the processes of one of several machines. */
export function launchCommand(): Command {
  return new Command('launch')
    .description('Train on several machines: starts the processes of one of them')
    .argument('<words...>', 'after --: the training, e.g. -- train vqgan --data photos --out my-model/vqgan')
    .addOption(new Option('--nnodes <count>', 'machines').argParser(integer(1, 1024)).default(1))
    .addOption(new Option('--node-rank <number>', 'of this machine, from 0').argParser(integer(0, 1023)).default(0))
    .addOption(new Option('--nproc <count>', 'processes of each machine').argParser(integer(1, 1024)).default(1))
    .option('--rendezvous <host:port>', 'where machine 0 listens, on an address that all machines reach')
    .option('--token <secret>', 'the same on all machines; better in the environment, as CLIP_GEN_TOKEN')
    .addOption(
      new Option('--max-restarts <count>', 'processes of this machine that are started again when they are lost')
        .argParser(integer(0, 1_000_000))
        .default(0),
    )
    .addHelpText('after', HELP)
    .action(async (words: string[], flags: LaunchFlags) => {
      process.exitCode = await launch(words, flags);
    });
}

const HELP = `
Example, on two machines of four processes each, 10.0.0.1 being the first:

  export CLIP_GEN_TOKEN=$(cat secret)
  clip-gen launch --nnodes 2 --node-rank 0 --rendezvous 10.0.0.1:29500 --nproc 4 -- train vqgan --data photos --out my-model/vqgan
  clip-gen launch --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500 --nproc 4 -- train vqgan --data photos --out my-model/vqgan

With train … --bind after --, the processes of a machine keep to their shares of its cores.
A batch is batchSize pictures for each of the 8 processes. Every machine needs the pictures (and the frozen models); --out is
written on machine 0 alone. SIGTERM, SIGUSR1 or Ctrl-C to any launcher or process stops all after the step with a
checkpoint and exit code ${STOPPED_EXIT_CODE}; the same commands go on. Processes that another program starts need RANK, WORLD_SIZE, MASTER_ADDR,
MASTER_PORT (and LOCAL_WORLD_SIZE), as torchrun sets them, and CLIP_GEN_TOKEN.`;

async function launch(words: readonly string[], flags: LaunchFlags): Promise<number> {
  const { nnodes, nodeRank, nproc, maxRestarts } = flags;
  if (words[0] !== 'train') throw invalidArgument('the command after --', 'train …', words[0]);
  if (nodeRank >= nnodes) throw invalidArgument('--node-rank', `an integer in [0, ${nnodes - 1}]`, nodeRank);
  const { rendezvous, token } = await meetingPoint(flags);
  return new Launcher({
    command: [process.execPath, ...process.execArgv, process.argv[1]!, ...words],
    env: environment(),
    firstRank: nodeRank * nproc,
    localWorldSize: nproc,
    worldSize: nnodes * nproc,
    rendezvous,
    token,
    maxRestarts,
    print: printError,
  }).run();
}

/** Where all meet, and the secret: made up for one machine, given for several. */
async function meetingPoint({
  nnodes,
  rendezvous,
  token = environment()['CLIP_GEN_TOKEN'],
}: LaunchFlags): Promise<{ readonly rendezvous: string; readonly token: string }> {
  if (token !== undefined && token.length < LEAST_TOKEN) {
    throw invalidArgument('--token', `of at least ${LEAST_TOKEN} characters`, `${token.length} characters`);
  }
  if (rendezvous !== undefined && !/^(\[[^\]]+\]|[^:\s]+):\d{1,5}$/.test(rendezvous)) {
    throw invalidArgument('--rendezvous', 'host:port of machine 0', rendezvous);
  }
  if (nnodes > 1 && (rendezvous === undefined || token === undefined)) {
    const missing = rendezvous === undefined ? '--rendezvous' : '--token (or CLIP_GEN_TOKEN)';
    throw new ClipGenError('invalid_argument', `${missing} must be given, the same on all ${nnodes} machines`);
  }
  return {
    rendezvous: rendezvous ?? `127.0.0.1:${await freePort()}`,
    token: token ?? randomBytes(32).toString('hex'),
  };
}
