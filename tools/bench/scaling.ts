/**
 * One training step (forward, backward, exchange of gradients, AdamW) of the emoji recipe's transformer on one machine: one
 * process with all threads beside several with one thread each and their share of the batch, in turns, these also each
 * kept to its share of the cores (`train --bind`). How many more
 * pictures a second the processes learn from, and how much of the time that gradients travel is hidden.
 *
 *     node --import tsx tools/bench/scaling.ts [--ranks 2] [--batch 32] [--quick] [--json FILE]
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freePort } from './all-reduce-groups.ts';
import { benchOptions, contender, interleave, least, machine, median, printTable, saveFigures } from './measure.ts';
import type { RankHello, RankOptions, StepTimes } from './scaling-rank.ts';

const options = benchOptions({
  ranks: { type: 'string', default: '2' },
  batch: { type: 'string', default: '32' },
});
const ranks = Number(options.ranks);
const batch = Number(options.batch);
if (batch % ranks !== 0) throw new Error(`--batch must be a multiple of --ranks; got ${batch} and ${ranks}`);

interface World {
  readonly hello: RankHello;
  step(): Promise<readonly StepTimes[]>;
  close(): void;
}

async function startWorld(worldSize: number, { threads, bind }: { threads: number; bind: boolean }): Promise<World> {
  const rendezvous = `127.0.0.1:${await freePort()}`;
  const program = fileURLToPath(new URL('scaling-rank.ts', import.meta.url));
  const members = Array.from({ length: worldSize }, (_, rank) => {
    const given: RankOptions = { rank, worldSize, rendezvous, batch: batch / worldSize, threads, bind };
    const words = ['--import', 'tsx', program, JSON.stringify(given)];
    const child: ChildProcessWithoutNullStreams = spawn(process.execPath, words);
    child.stderr.pipe(process.stderr);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const hear = async <T>(): Promise<T> => {
      const line: IteratorResult<string, unknown> = await lines.next();
      if (line.done) throw new Error(`rank ${rank} ended early`);
      return JSON.parse(line.value) as T;
    };
    return { child, hear };
  });
  const [hello] = await Promise.all(members.map(({ hear }) => hear<RankHello>()));
  return {
    hello: hello!,
    step: () => {
      for (const { child } of members) child.stdin.write('step\n');
      return Promise.all(members.map(({ hear }) => hear<StepTimes>()));
    },
    close: () => members.forEach(({ child }) => child.stdin.end()),
  };
}

const worlds: World[] = [];
try {
  worlds.push(await startWorld(1, { threads: ranks, bind: false }));
  for (const bind of [false, true]) worlds.push(await startWorld(ranks, { threads: 1, bind }));
  const [alone, together, bound] = worlds as [World, World, World];
  const exchanges: { exchangeMs: number; blockedMs: number }[] = [];
  const slowest = (answers: readonly StepTimes[]): number => Math.max(...answers.map(({ ms }) => ms));
  const ways = [
    contender(`1 process, ${ranks} threads`, async () => slowest(await alone.step())),
    contender(`${ranks} processes, 1 thread each`, async () => {
      const answers = await together.step();
      exchanges.push(...answers);
      return slowest(answers);
    }),
    contender(`${ranks} processes, --bind`, async () => slowest(await bound.step())),
  ] as const;
  const warmup = 2;
  await interleave(ways, { warmup, rounds: options.quick ? 3 : 25, budgetMs: options.quick ? 10_000 : 40_000 });
  const counted = exchanges.slice(warmup * ranks);
  const exchangeMs = median(counted.map((exchange) => exchange.exchangeMs));
  const blockedMs = median(counted.map((exchange) => exchange.blockedMs));

  const { parameters } = alone.hello;
  console.log(
    `a training step of ${(parameters / 1e6).toFixed(1)} million parameters, ${batch} pictures in all, ` +
      `${together.hello.segments} segments; ${machine()}`,
  );
  printTable(
    ['', 'median ms', 'least ms', 'pictures/s', 'rounds'],
    ways.map(({ name, times }) => [
      name,
      median(times),
      least(times),
      (batch / median(times)) * 1e3,
      String(times.length),
    ]),
  );
  const ratio = median(ways[0].times) / median(ways[1].times);
  const leastRatio = least(ways[0].times) / least(ways[1].times);
  const hidden = 1 - blockedMs / exchangeMs;
  const bindRatio = median(ways[1].times) / median(ways[2].times);
  console.log(
    `throughput: ${ratio.toFixed(2)}× of one process (of the least times ${leastRatio.toFixed(2)}×); --bind ${bindRatio.toFixed(2)}× of that`,
  );
  console.log(
    `gradients (${((parameters * 4) / 1e6).toFixed(0)} MB) travel for ${exchangeMs.toFixed(1)} ms of a step, ` +
      `${blockedMs.toFixed(1)} ms of them are waited for: ${(100 * hidden).toFixed(0)} % hidden`,
  );
  await saveFigures(options.json, {
    ...{ bench: 'scaling', ranks, batch, parameters, ratio, leastRatio, bindRatio, exchangeMs, blockedMs, hidden },
    ways: ways.map(({ name, times }) => ({ name, medianMs: median(times), leastMs: least(times) })),
  });
} finally {
  for (const world of worlds) world.close();
}
