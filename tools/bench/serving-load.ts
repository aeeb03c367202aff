/**
 * Pictures a second and how long each takes when 1 to 64 clients ask at once, over REST and over gRPC, closed loop; beside
 * the same pictures in this process without services, one after the other and with several prompts in every run of a
 * network: what this machine can give at most.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModel } from '@clip-gen/generation';
import { closedLoop, percentile, rate, together, type LoadResult } from './closed-loop.ts';
import { machine, printTable, saveFigures } from './measure.ts';
import { allAtOnce, connectGateway, inProcess, overGrpc, overRest } from './picture-doors.ts';
import { startClipGen } from './server-process.ts';
import { PROMPT, servedModel } from './serving-model.ts';
import { count, servingOptions } from './serving-options.ts';

const USAGE = `Throughput and latency of clip-gen serve under load, beside the same pictures in process.

  node --import tsx tools/bench/serving-load.ts [--model FOLDER] [--clients 1,4,16,64] [--seconds 10] [--candidates 8]
      [--max-in-flight N] [--max-waiting N] [--quick] [--json FILE]

Without --model it is the model that comes along, or an untrained one of its size. --seconds are those that count of each
load. --max-in-flight and --max-waiting are the server's; as it comes it has room for 8 and 64 requests, so that 64 clients
are never refused: --max-waiting 16 shows what refusing does.`;

/** Prompts of one run where several go together: with 8 candidates each, as many rows as a step of the sampler takes. */
const TOGETHER = 8;

const options = servingOptions(USAGE, {
  clients: { type: 'string', default: '1,4,16,64' },
  seconds: { type: 'string', default: '10' },
  candidates: { type: 'string', default: '8' },
  'max-in-flight': { type: 'string' },
  'max-waiting': { type: 'string' },
});
const levels = (options.quick ? '1,4' : options.clients).split(',').map((text) => count('clients', text));
const seconds = options.quick ? 1 : count('seconds', options.seconds);
const candidates = count('candidates', options.candidates);
const limits = (['max-in-flight', 'max-waiting'] as const).flatMap((name) => {
  const value = options[name];
  return value === undefined ? [] : [`--${name}`, value];
});

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const closers: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
try {
  const { path, title } = await servedModel(options.model, folder);
  const model = await openModel(path);
  closers.push(() => model.close());
  const server = await startClipGen(path, limits);
  closers.push(() => server.close());
  const gateway = connectGateway(server.at.grpc);
  closers.push(() => gateway.close());

  const here = inProcess(model);
  const oneByOne = (): Promise<LoadResult> =>
    closedLoop((seed) => here({ prompt: PROMPT, seed, candidates }), { clients: 1, seconds });
  const merged = (): Promise<LoadResult> =>
    closedLoop((seed) => allAtOnce(model, new Array<string>(TOGETHER).fill(PROMPT), { seed, candidates }), {
      clients: 1,
      seconds,
    });
  const before = machine();
  const limit = [await oneByOne()];
  const most = [await merged()];
  const loads: { readonly name: string; readonly clients: number; readonly result: LoadResult }[] = [];
  const doors = { REST: overRest(server.at.http), gRPC: overGrpc(gateway.client) };
  for (const clients of levels) {
    for (const [name, door] of Object.entries(doors)) {
      const result = await closedLoop((seed, signal) => door({ prompt: PROMPT, seed, candidates }, signal), {
        clients,
        seconds,
      });
      loads.push({ name, clients, result });
    }
  }
  limit.push(await oneByOne()); // before and after, so that a machine that slows down slows both
  most.push(await merged());

  const own = limit.reduce(together);
  const rows = [
    row('in process, one by one', 1, own, 1),
    row(`in process, ${TOGETHER} prompts at once`, 1, most.reduce(together), TOGETHER),
    ...loads.map(({ name, clients, result }) => row(name, clients, result, 1)),
  ];
  console.log(`pictures, each the best of ${candidates} candidates, ${title}; windows of ${seconds} s; ${before}`);
  printTable(
    ['', 'clients', 'pictures/s', '× one by one', 'p50 ms', 'p90 ms', 'p99 ms', 'answers', 'refused', 'late'],
    rows.map((r) => [
      ...[r.name, String(r.clients), r.picturesPerSecond, r.ratio, r.p50Ms, r.p90Ms, r.p99Ms, String(r.answers)],
      ...[`${(100 * r.refused).toFixed(0)} %`, `${(100 * r.late).toFixed(0)} %`],
    ]),
  );
  await saveFigures(options.json, { bench: 'serving-load', model: title, candidates, seconds, limits, rows });

  function row(name: string, clients: number, result: LoadResult, picturesEach: number) {
    const { latencies, refused, late } = result;
    const asked = latencies.length + refused + late;
    return {
      ...{ name, clients, answers: latencies.length },
      picturesPerSecond: picturesEach * rate(result),
      ratio: (picturesEach * rate(result)) / rate(own),
      ...{ p50Ms: percentile(latencies, 0.5), p90Ms: percentile(latencies, 0.9), p99Ms: percentile(latencies, 0.99) },
      ...{ refused: refused / asked, late: late / asked },
    };
  }
} finally {
  for (const close of closers.reverse()) await close();
}
