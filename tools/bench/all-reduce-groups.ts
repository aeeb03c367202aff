import { execFile, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RankHello, RankOptions, RankRequest, RankTimes } from './all-reduce-rank.ts';
import { startTorch, type TorchPeer } from './torch-peer.ts';

/** What all ranks are asked to reduce. */
export type Ask = RankRequest;

/** For each rank. */
export type Cores = readonly (readonly number[])[];

/** The processes of one group, asleep between its turns. */
export interface RankGroup {
  /** Milliseconds of the slowest rank for one all-reduce, and what a rank sent on average, where it says. */
  reduce(ask: Ask): Promise<{ readonly ms: number; readonly bytesSent?: number }>;
  readonly sharesMemory: boolean;
  /** The logical processors that each rank keeps to, where they are bound. */
  readonly cores?: Cores;
  close(): void;
}

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** Ours. */
export async function startOwn(worldSize: number, how: Pick<RankOptions, 'transport' | 'bind'>): Promise<RankGroup> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const ranks = Array.from({ length: worldSize }, (_, rank) => {
    const options: RankOptions = { rank, worldSize, rendezvous, token: 'for the bench alone', ...how };
    const argument = JSON.stringify(options);
    return speak(`rank ${rank}`, process.execPath, ['--import', 'tsx', here('all-reduce-rank.ts'), argument]);
  });
  const hello = await Promise.all(ranks.map(({ hear }) => hear<RankHello>()));
  return {
    sharesMemory: hello[0]!.sharesMemory,
    ...(how.bind ? { cores: hello.map(({ cores }) => cores ?? cannotBind()) } : {}),
    async reduce(ask) {
      for (const { say } of ranks) say(JSON.stringify(ask));
      const answers = await Promise.all(ranks.map(({ hear }) => hear<RankTimes>()));
      const ms = Math.max(...answers.map((answer) => answer.ms));
      return { ms, bytesSent: answers.reduce((sum, answer) => sum + answer.bytesSent, 0) / worldSize };
    },
    close: () => ranks.forEach(({ end }) => end()),
  };
}

/**
 * Gloo with one compute thread a rank, on the loopback interface; undefined without PyTorch.
 *
 * @param cores that each rank is bound to
 */
export async function startGloo(worldSize: number, cores?: Cores): Promise<RankGroup | undefined> {
  const port = await freePort();
  const peers = await Promise.all(
    Array.from({ length: worldSize }, (_, rank) =>
      startTorch('all-reduce.py', { rank, worldSize, port, threads: 1, cores: cores?.[rank] }),
    ),
  );
  const all = peers.filter((peer): peer is TorchPeer => peer !== undefined);
  const close = (): void => all.forEach((peer) => peer.close());
  if (all.length < worldSize) {
    close();
    return undefined;
  }
  return {
    sharesMemory: false,
    async reduce({ elements, repeats }) {
      const answers = await Promise.all(all.map((peer) => peer.ask<{ ms: number }>({ elements, repeats })));
      return { ms: Math.max(...answers.map(({ ms }) => ms)) };
    },
    close,
  };
}

/**
 * OpenMPI as it comes, through shared memory; undefined, with a line that says so, where it is not installed.
 *
 * @param cores that each rank is bound to; without them OpenMPI binds as it sees fit
 */
export async function startMpi(worldSize: number, cores?: Cores): Promise<RankGroup | undefined> {
  const program = await compiled('mpicc', 'all-reduce-mpi.c');
  if (!program) {
    console.log('OpenMPI is not compared: no mpicc (apt install openmpi-bin libopenmpi-dev)');
    return undefined;
  }
  const asRoot = process.getuid?.() === 0 ? ['--allow-run-as-root'] : [];
  const binding = cores ? ['--bind-to', 'none'] : [];
  const words = [...asRoot, '--oversubscribe', ...binding, '-np', String(worldSize), program, ...coreWords(cores)];
  const ranks = speak('mpirun', 'mpirun', words);
  const { version } = await ranks.hear<{ version: string }>();
  if (!cores) console.log(`OpenMPI: ${version}`);
  return programGroup(ranks, true);
}

/**
 * What the system's calls alone take over TCP: the ring in C; undefined, with a line that says so, without a C compiler.
 *
 * @param cores that each process is bound to
 */
export async function startFloor(worldSize: number, cores?: Cores): Promise<RankGroup | undefined> {
  const program = await compiled('cc', 'all-reduce-floor.c');
  if (program) return programGroup(speak('the ring in C', program, [String(worldSize), ...coreWords(cores)]), false);
  console.log('the ring in C is not compared: no cc (apt install gcc)');
  return undefined;
}

/** A program of this folder; undefined where the compiler is missing. It is removed when this process ends. */
async function compiled(compiler: string, source: string): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'all-reduce-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'program');
  try {
    await promisify(execFile)(compiler, ['-O3', '-o', program, here(source), '-lm']);
    return program;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

const coreWords = (cores: Cores = []): string[] => cores.map((processors) => processors.join(','));

/** A program that is asked by a line of "ELEMENTS REPEATS". */
function programGroup(ranks: ReturnType<typeof speak>, sharesMemory: boolean): RankGroup {
  return {
    sharesMemory,
    reduce({ elements, repeats }) {
      ranks.say(`${elements} ${repeats}`);
      return ranks.hear<{ ms: number }>();
    },
    close: () => ranks.end(),
  };
}

function cannotBind(): never {
  throw new Error('--bind: a process cannot choose its cores here');
}

/** A process that answers lines with lines of JSON. */
function speak(name: string, program: string, words: readonly string[]) {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    say: (line: string): void => void child.stdin.write(`${line}\n`),
    async hear<T>(): Promise<T> {
      const line: IteratorResult<string, unknown> = await lines.next();
      if (line.done) throw new Error(`${name} ended early`);
      return JSON.parse(line.value) as T;
    },
    end: (): void => void child.stdin.end(),
  };
}

/** A port of the loopback address that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
