import { encodeModel } from '@clip-gen/graph';
import { initialize } from '@clip-gen/nn';
import { createSession } from '@clip-gen/runtime';
import { tensor } from '@clip-gen/tensor';
import { expect, it } from 'vitest';
import { gptConfigSchema, type GptConfig } from './config.ts';
import { decodeStepGraph } from './decode-step.ts';
import { emptyCache } from './key-value-cache.ts';

const config = (headWidth: number): GptConfig => ({
  ...{ model: 'gpt', tokens: 4, vocabularySize: 24, conditionSize: 16, layers: 1, heads: 2 },
  width: 2 * headWidth,
});

/** Logits of the first position with heads of width `headWidth`. */
async function firstStep(headWidth: number): Promise<Float32Array> {
  const { graph, scope } = decodeStepGraph(config(headWidth));
  const session = await createSession(encodeModel(graph, { parameters: 'input' }), { threads: 1 });
  try {
    const cache = [...emptyCache(config(headWidth), 1)];
    const { logits } = await session.run(
      {
        ...Object.fromEntries(initialize(scope.specs, 5)),
        ...Object.fromEntries(cache.map(([name, data]) => [`past.${name}`, data])),
        condition: tensor('float32', [1, 16], new Float32Array(16).fill(0.25)),
        token: tensor('int32', [1], Int32Array.of(0)),
        position: tensor('int32', [1], Int32Array.of(0)),
        total: tensor('int32', [1], Int32Array.of(1)),
      },
      { into: Object.fromEntries(cache.map(([name, data]) => [`present.${name}`, data])) },
    );
    return logits!.data as Float32Array;
  } finally {
    await session.close();
  }
}

it.each([4, 12, 20])('heads of width %d are refused, as the runtime would at the first token', async (headWidth) => {
  const { error } = gptConfigSchema.safeParse(config(headWidth));
  const message = `must make width / heads (${headWidth}) a multiple of 8`;
  expect(error?.issues).toMatchObject([{ path: ['heads'], message }]);
  await expect(firstStep(headWidth)).rejects.toThrow('head_size must be a multiple of 8');
});

it.each([8, 16, 24, 264])('heads of width %d are taken, and decode', async (headWidth) => {
  expect(gptConfigSchema.parse(config(headWidth))).toEqual(config(headWidth));
  expect((await firstStep(headWidth)).every(Number.isFinite)).toBe(true);
});
