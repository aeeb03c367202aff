// One rank of tools/bench/all-reduce.ts: RankOptions as JSON in its argument; a line of JSON asks for some all-reduces one
// after the other, the answer has the milliseconds of one of them.
import { createInterface } from 'node:readline';
import {
  bindToCoreShare,
  joinGroup,
  type AllReduceOptions,
  type GroupStatistics,
  type JoinOptions,
} from '../../libs/all-reduce/src/index.ts';

/** What a rank is started with. */
export interface RankOptions extends JoinOptions {
  /** Whether it keeps to its share of the cores. */
  readonly bind: boolean;
}

/** What it says first. */
export interface RankHello extends GroupStatistics {
  /** The cores that it keeps to. */
  readonly cores: readonly number[] | undefined;
}

/** What a line asks for. */
export interface RankRequest {
  readonly elements: number;
  /** All-reduces of one measurement. */
  readonly repeats: number;
  readonly options: AllReduceOptions;
  /** In the memory of the group, or in an ordinary array. */
  readonly allocated: boolean;
}

/** What it answers. */
export interface RankTimes {
  /** Milliseconds of one all-reduce. */
  readonly ms: number;
  /** Bytes sent over sockets for one all-reduce. */
  readonly bytesSent: number;
}

const { bind, ...join } = JSON.parse(process.argv[2] ?? '{}') as RankOptions;
const cores = bind ? bindToCoreShare(join.rank, join.worldSize) : undefined;
const group = await joinGroup(join);
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
say({ ...(await group.statistics()), cores } satisfies RankHello);

const tensors = new Map<string, Float32Array>();
for await (const line of createInterface({ input: process.stdin })) {
  const { elements, repeats, options, allocated } = JSON.parse(line) as RankRequest;
  const key = `${elements} ${allocated}`;
  const tensor = tensors.get(key) ?? (allocated ? await group.allocate(elements) : new Float32Array(elements));
  tensors.set(key, tensor);
  tensor.fill(1);
  const before = (await group.statistics()).bytesSent;
  await group.barrier();
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await group.allReduce(tensor, options);
  const ms = (performance.now() - start) / repeats;
  const bytesSent = ((await group.statistics()).bytesSent - before) / repeats;
  await group.barrier(); // checking takes a core, which who is not through yet may need
  const wanted = group.worldSize ** repeats;
  const tolerance = wanted * (options.wire === 'bfloat16' ? 0.1 : 1e-5); // powers of two are exact in both
  for (let i = 0; i < elements; i++) {
    if (!(Math.abs(tensor[i]! - wanted) <= tolerance)) throw new Error(`wrong sum: ${tensor[i]} for ${wanted}`);
  }
  say({ ms, bytesSent } satisfies RankTimes);
}
await group.close();
