import { emptyTensor, type Tensor } from '@clip-gen/tensor';
import { afterAll, bench, describe } from 'vitest';
import { createSession } from './index.ts';
import { negationsModel } from './tiny-models.ts';

// What a run costs beside its arithmetic: 400 tensors of 16 floats in and as many out, as a training step passes.
// npx vitest bench libs/runtime

const TENSORS = 400;

describe.each(['c-api', 'node'] as const)(`${TENSORS} tensors over %s`, async (backend) => {
  const session = await createSession(negationsModel(TENSORS, 16), { backend, threads: 1 });
  afterAll(() => session.close());
  const made = (names: readonly { name: string }[]): Record<string, Tensor> =>
    Object.fromEntries(names.map(({ name }) => [name, emptyTensor('float32', [16])]));
  const feeds = made(session.inputs);
  const into = made(session.outputs);

  bench('same buffers again', async () => {
    await session.run(feeds, { into });
  });
  bench('other inputs', async () => {
    const others = Object.entries(feeds).map(([name, tensor]) => [name, { ...tensor, data: tensor.data.subarray() }]);
    await session.run(Object.fromEntries(others) as Record<string, Tensor>, { into });
  });
  bench('outputs allocated', async () => {
    await session.run(feeds);
  });
});
