// One rank of tools/bench/all-reduce.ts: JoinOptions as JSON in its argument; a line of JSON asks for some all-reduces, the
// answer has the milliseconds of each, from after a barrier until the result is there.
import { createInterface } from 'node:readline';
import { joinGroup, type AllReduceOptions, type JoinOptions } from '../../libs/all-reduce/src/index.ts';

/** What a line asks for. */
export interface RankRequest {
  readonly elements: number;
  readonly repeats: number;
  readonly options: AllReduceOptions;
  /** In the memory of the group, or in an ordinary array. */
  readonly allocated: boolean;
}

/** What it answers. */
export interface RankTimes {
  readonly times: readonly number[];
  /** Bytes sent over sockets for one all-reduce. */
  readonly bytesSent: number;
}

const group = await joinGroup(JSON.parse(process.argv[2] ?? '{}') as JoinOptions);
const say = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
say(await group.statistics());

const tensors = new Map<string, Float32Array>();
for await (const line of createInterface({ input: process.stdin })) {
  const { elements, repeats, options, allocated } = JSON.parse(line) as RankRequest;
  const key = `${elements} ${allocated}`;
  const tensor = tensors.get(key) ?? (allocated ? await group.allocate(elements) : new Float32Array(elements));
  tensors.set(key, tensor);
  const times: number[] = [];
  let bytesSent = 0;
  for (let i = 0; i < repeats; i++) {
    tensor.fill(1);
    await group.barrier();
    const before = (await group.statistics()).bytesSent;
    const start = performance.now();
    await group.allReduce(tensor, options);
    times.push(performance.now() - start);
    bytesSent = (await group.statistics()).bytesSent - before;
    if (!tensor.every((x) => x === group.worldSize))
      throw new Error(`wrong sum: ${tensor.find((x) => x !== group.worldSize)}`);
  }
  say({ times, bytesSent } satisfies RankTimes);
}
await group.close();
