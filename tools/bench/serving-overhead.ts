/**
 * One prompt to one picture through the gateway, over gRPC and over REST, beside the same in this process, in turns; and
 * how soon the first partial picture comes. All must give the same bytes before the clock starts.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModel } from '@clip-gen/generation';
import { contender, interleave, least, machine, median, printTable, saveFigures, timed } from './measure.ts';
import { connectGateway, inProcess, overGrpc, overRest, readPicture, type PictureDoor } from './picture-doors.ts';
import { startClipGen } from './server-process.ts';
import { PROMPT, servedModel } from './serving-model.ts';
import { count, servingOptions } from './serving-options.ts';

const USAGE = `One picture through clip-gen serve beside the same in process.

  node --import tsx tools/bench/serving-overhead.ts [--model FOLDER] [--candidates 8] [--rounds 30] [--quick] [--json FILE]

Without --model it is the model that comes along, or an untrained one of its size.`;

/** Ratio of medians, of both doors to the same in process. */
const GOAL = 1.15;
const PARTIALS = 3;

const options = servingOptions(USAGE, {
  candidates: { type: 'string', default: '8' },
  rounds: { type: 'string', default: '30' },
});
const candidates = count('candidates', options.candidates);
const rounds = options.quick ? 3 : count('rounds', options.rounds);

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const closers: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
try {
  const { path, title } = await servedModel(options.model, folder);
  const server = await startClipGen(path);
  closers.push(() => server.close());
  const gateway = connectGateway(server.at.grpc);
  closers.push(() => gateway.close());
  const model = await openModel(path);
  closers.push(() => model.close());

  const doors = { 'in process': inProcess(model), gRPC: overGrpc(gateway.client), REST: overRest(server.at.http) };
  await checkBytes(doors);

  const contenders = Object.entries(doors).map(([name, door]) => {
    let seed = 0;
    return contender(name, () => timed(() => door({ prompt: PROMPT, seed: seed++, candidates })));
  });
  const firstPartials: number[] = [];
  let seed = 0;
  contenders.push(
    contender(`gRPC with ${PARTIALS} partial pictures`, () =>
      timed(async () => {
        const request = { prompt: PROMPT, seed: seed++, candidates };
        const { firstPartialMs } = await readPicture(gateway.client, request, { partials: PARTIALS });
        firstPartials.push(firstPartialMs);
      }),
    ),
  );
  const before = machine();
  const warmup = 2;
  await interleave(contenders, { warmup, rounds, budgetMs: 150_000 });

  const whole = median(contenders[0]!.times);
  const partial = { name: '  until the first of them', times: firstPartials.slice(warmup) };
  const rows = [...contenders, partial].map(({ name, times }) => ({
    name: name.trim(),
    medianMs: median(times),
    leastMs: least(times),
    ratio: median(times) / whole,
  }));
  console.log(
    `a prompt to a PNG, best of ${candidates} candidates, ${title}, ${contenders[0]!.times.length} rounds; ${before}`,
  );
  printTable(
    ['', 'median ms', 'least ms', '÷ in process'],
    rows.map(({ name, medianMs, leastMs, ratio }) => [name, medianMs, leastMs, ratio]),
  );
  console.log(`goal: gRPC and REST at most ${GOAL} × in process`);
  await saveFigures(options.json, { bench: 'serving-overhead', model: title, candidates, rows });
} finally {
  for (const close of closers.reverse()) await close();
}

/** @throws when a door gives other bytes than this process, or the same for another seed */
async function checkBytes(doors: Readonly<Record<string, PictureDoor>>): Promise<void> {
  const pictures = new Set<string>();
  for (const seed of [7, 8]) {
    const made = new Map<string, Buffer>();
    for (const [name, door] of Object.entries(doors)) {
      made.set(name, Buffer.from(await door({ prompt: PROMPT, seed, candidates })));
    }
    const [[first, expected] = []] = made;
    for (const [name, bytes] of made) {
      if (!expected?.equals(bytes)) throw new Error(`seed ${seed}: ${name} gives other bytes than ${first}`);
    }
    pictures.add(expected!.toString('base64'));
  }
  if (pictures.size !== 2) throw new Error('two seeds give the same picture');
}
