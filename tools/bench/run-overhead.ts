/**
 * What a run costs beside its arithmetic: 400 tensors of 16 floats in and as many out, as a training step passes, over
 * each of the runtime's two backends in turn, medians.
 *
 *     node --import tsx tools/bench/run-overhead.ts [--quick] [--json FILE]
 */
import { encodeModel, GraphBuilder, neg } from '../../libs/graph/src/index.ts';
import { createSession, type Session } from '../../libs/runtime/src/index.ts';
import { emptyTensor, type Tensor } from '../../libs/tensor/src/index.ts';
import {
  benchOptions,
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

const TENSORS = 400;
const LENGTH = 16;
const BACKENDS = ['c-api', 'node'] as const;

const options = benchOptions({});
const [warmup, rounds] = options.quick ? [2, 10] : [10, 100];

const graph = new GraphBuilder('negations');
for (let i = 0; i < TENSORS; i++) graph.output(`y${i}`, neg(graph.input(`x${i}`, 'float32', [LENGTH])));
const model = encodeModel(graph);

const made = (names: readonly { name: string }[]): Record<string, Tensor> =>
  Object.fromEntries(names.map(({ name }) => [name, emptyTensor('float32', [LENGTH])]));

function waysOf(session: Session, backend: string): Contender[] {
  const feeds = made(session.inputs);
  const into = made(session.outputs);
  return [
    contender(`${backend}, same buffers again`, () => timed(() => session.run(feeds, { into }))),
    contender(`${backend}, other inputs`, () => {
      const others = made(session.inputs); // buffers that a backend cannot remember from the run before
      return timed(() => session.run(others, { into }));
    }),
    contender(`${backend}, outputs allocated`, () => timed(() => session.run(feeds))),
  ];
}

const sessions = await Promise.all(BACKENDS.map((backend) => createSession(model, { backend, threads: 1 })));
const contenders = sessions.flatMap((session, i) => waysOf(session, BACKENDS[i]!));
console.log(machine());
await interleave(contenders, { warmup, rounds });
printTable(
  [`${TENSORS} tensors in, ${TENSORS} out`, 'median ms', 'least ms'],
  contenders.map(({ name, times }) => [name, median(times), least(times)]),
);
await Promise.all(sessions.map((session) => session.close()));
await saveFigures(options.json, {
  tensors: TENSORS,
  rounds,
  medianMs: Object.fromEntries(contenders.map(({ name, times }) => [name, median(times)])),
});
