/**
 * What it costs to stream tokens: the sampler's service over gRPC beside the same sampler in this process, which must draw
 * the same tokens; and the way alone, without models, over one hop (sampler to client) and over all (sampler to gateway to
 * decoder, pictures back and judged, to the client), for grids of two sizes. Over one hop each position is an event: the
 * difference is the price of an event, what is left the price of a request. The gateway asks for larger events.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ImageFormat,
  TransformerSamplerDefinition,
  type SampleRequest,
  type TransformerSamplerClient,
} from '@clip-gen/contracts';
import { openGptPart, partFolder, TokenSampler } from '@clip-gen/generation';
import { connect, type CallExtras } from '@clip-gen/serving';
import {
  contender,
  interleave,
  least,
  machine,
  median,
  printTable,
  saveFigures,
  timed,
  type Contender,
} from './measure.ts';
import { connectGateway } from './picture-doors.ts';
import { startGateway, startModelless, startSampler } from './server-process.ts';
import { PROMPT, servedModel } from './serving-model.ts';
import { count, servingOptions } from './serving-options.ts';

const USAGE = `The price of a token event between the services.

  node --import tsx tools/bench/streaming-overhead.ts [--model FOLDER] [--candidates 8] [--rounds 40] [--quick] [--json FILE]

Without --model it is the model that comes along, or an untrained one of its size. An event holds one token of each
candidate.`;

/** Grids of the streams without models: the released models' and a quarter of it. */
const FEW = 64;
const MANY = 256;
/** Draws for each that is timed: they take a millisecond or a few. */
const REPEATS = 8;
const DEADLINE_MS = 600_000;

const options = servingOptions(USAGE, {
  candidates: { type: 'string', default: '8' },
  rounds: { type: 'string', default: '40' },
});
const candidates = count('candidates', options.candidates);
const rounds = options.quick ? 3 : count('rounds', options.rounds);

const folder = await mkdtemp(join(tmpdir(), 'clip-gen-bench-'));
const closers: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
const closing = <C extends { close(): unknown }>(opened: C): C => {
  closers.push(() => opened.close());
  return opened;
};
try {
  const { path, title } = await servedModel(options.model, folder);
  const part = await openGptPart(await partFolder(path, 'gpt'));
  const sampler = closing(await TokenSampler.open(part));
  const served = connectSampler(closing(await startSampler(path)).at);
  const sampling = { temperature: 1, topK: Math.min(500, part.config.vocabularySize), topP: 0.95, guidance: 1 };
  const condition = unitVector(part.config.conditionSize);
  const request: Omit<SampleRequest, 'seed'> = {
    conditions: [{ values: [...condition] }],
    candidates,
    sampling,
    firstCandidate: 0,
    positionsPerEvent: 1,
  };
  const here = async (seed: number): Promise<number[]> => {
    const drawn: number[] = [];
    const asked = { ...sampling, seed, candidates };
    for await (const steps of sampler.sampleSteps([condition], asked))
      for (const step of steps) drawn.push(...step.tokens);
    return drawn;
  };
  const there = (seed: number): Promise<number[]> => draw(served, { ...request, seed: BigInt(seed) });
  if (String(await here(7)) !== String(await there(7))) throw new Error('the service draws other tokens');

  const inTurn = (name: string, work: (seed: number) => Promise<unknown>, repeats = 1): Contender => {
    let seed = 0;
    return contender(name, async () => {
      const ms = await timed(async () => {
        for (let i = 0; i < repeats; i++) await work(seed++);
      });
      return ms / repeats;
    });
  };
  const own = inTurn('sampler, in process', here);
  const service = inTurn('sampler, over gRPC', there);
  const hops: Contender[] = [];
  const ways: Contender[] = [];
  for (const tokens of [FEW, MANY]) {
    const modelless = closing(await startModelless(tokens)).at;
    const bare = connectSampler(modelless);
    const asked = { ...request, conditions: [{ values: [1] }], seed: 0n };
    hops.push(inTurn(`one hop, no model, ${tokens} events`, () => draw(bare, asked), REPEATS));
    const gateway = closing(connectGateway(closing(await startGateway(modelless)).at.grpc)).client;
    const picture = { prompt: PROMPT, candidates, seed: 0n, format: ImageFormat.IMAGE_FORMAT_RGB8 };
    const generate = async (): Promise<void> => {
      for await (const { event } of gateway.generate(picture)) if (event?.$case === 'finished') return;
      throw new Error('the gateway ended before its picture');
    };
    ways.push(inTurn(`the whole way, no models, ${tokens} tokens`, generate, REPEATS));
  }
  const before = machine();
  const contenders = [own, service, ...hops, ...ways];
  await interleave(contenders, { warmup: 3, rounds, budgetMs: 120_000 });

  console.log(`streams of ${candidates} candidates, ${title}, ${own.times.length} rounds; ${before}`);
  printTable(
    ['a request', 'median ms', 'least ms'],
    contenders.map(({ name, times }) => [name, median(times), least(times)]),
  );
  const events = part.config.tokens * Math.ceil(candidates / 64);
  const beyond = (1e3 * (median(service.times) - median(own.times))) / events;
  const prices = [
    { name: `sampler over gRPC, beyond in process (${events} events)`, eventUs: beyond, requestUs: NaN },
    { name: 'one hop, no model', ...price(hops) },
  ];
  console.log('');
  printTable(
    ['the price', 'µs/event', 'µs/token', 'µs/request besides'],
    prices.map(({ name, eventUs, requestUs }) => [
      name,
      eventUs,
      eventUs / candidates,
      Number.isNaN(requestUs) ? '' : requestUs,
    ]),
  );
  const rows = contenders.map(({ name, times }) => ({ name, medianMs: median(times), leastMs: least(times) }));
  await saveFigures(options.json, { bench: 'streaming-overhead', model: title, candidates, rows, prices });
} finally {
  for (const close of closers.reverse()) await close();
}

function connectSampler(address: string): TransformerSamplerClient<CallExtras> {
  const to = { addresses: [address], name: 'sampler', deadlineMs: DEADLINE_MS };
  return closing(connect(TransformerSamplerDefinition, to)).client;
}

/** All tokens of a stream, in the order in which they came. */
async function draw(client: TransformerSamplerClient<CallExtras>, request: SampleRequest): Promise<number[]> {
  const drawn: number[] = [];
  for await (const { event } of client.sample(request)) {
    if (event?.$case === 'tokens') drawn.push(...event.value.tokens);
  }
  return drawn;
}

/** Of an event and of a request besides, in microseconds, from streams of {@link FEW} and {@link MANY} events. */
function price([few, many]: readonly Contender[]): { readonly eventUs: number; readonly requestUs: number } {
  const [short, long] = [1e3 * median(few!.times), 1e3 * median(many!.times)];
  const eventUs = (long - short) / (MANY - FEW);
  return { eventUs, requestUs: short - FEW * eventUs };
}

/** float32 (E), of unit length. */
function unitVector(size: number): Float32Array {
  const values = Array.from({ length: size }, (_, i) => Math.cos(i * i));
  return Float32Array.from(values, (value) => value / Math.hypot(...values));
}
