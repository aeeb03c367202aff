// One rank as a process of its own, for tests: JoinOptions as JSON in its argument, one command a line on its input.
//
//     reduce COUNT      all-reduces COUNT ones and says what came out
//     loop COUNT TIMES  the same many times, until a sum is wrong
//     lent COUNT TIMES  the same in memory that the group is lent
//     hang              blocks this thread for ever
//     leave             closes the group and ends
import { createInterface } from 'node:readline';
import { ClipGenError } from '@clip-gen/errors';
import { joinGroup, type JoinOptions } from './index.ts';

/** What a rank says, one JSON a line. */
export type RankReport =
  | { readonly joined: true; readonly sharesMemory: boolean }
  | { readonly result: number; readonly exact: boolean }
  | { readonly error: string; readonly code: string; readonly ms: number };

const say = (report: RankReport): void => void process.stdout.write(`${JSON.stringify(report)}\n`);

const group = await joinGroup(JSON.parse(process.argv[2] ?? '{}') as JoinOptions);
say({ joined: true, ...(await group.statistics()) });
for await (const line of createInterface({ input: process.stdin })) {
  const [command, count, times] = line.split(' ');
  const start = performance.now();
  try {
    if (command === 'hang') for (;;);
    if (command === 'leave') break;
    const tensor = command === 'lent' ? await lentTensor(Number(count)) : new Float32Array(Number(count));
    let exact = true;
    for (let i = 0; exact && i < Number(times ?? 1); i++) {
      tensor.fill(1);
      await group.allReduce(tensor);
      exact = tensor.every((x) => x === group.worldSize);
    }
    say({ result: tensor[0] ?? 0, exact });
  } catch (error) {
    const { message, code } = error as Error & { code: string };
    say({ error: message, code, ms: performance.now() - start });
  }
}
await group.close();
process.stdin.destroy();

async function lentTensor(count: number): Promise<Float32Array> {
  const pages = Math.ceil((count * 4) / 65536);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const tensor = new Float32Array(buffer, 0, count);
  if (!(await group.lend(tensor))) throw new ClipGenError('internal', 'the tensor could not be lent');
  return tensor;
}
