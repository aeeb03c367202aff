import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema, GPT_PRESETS } from '@clip-gen/gpt';
import type { VqganConfig } from '@clip-gen/vqgan';
import { describe, expect, it } from 'vitest';
import { gptTrainingSchema, parseTraining } from '../config.ts';
import { TINY_CLIP, TINY_VQGAN } from '../tiny-trainings.ts';
import type { FrozenModels } from './frozen-models.ts';
import { GptStage } from './gpt-stage.ts';

/** Frozen models of these sizes; the configuration needs no weights. */
function frozenOf(vqgan: Partial<VqganConfig>, clip: Partial<typeof TINY_CLIP> = {}): FrozenModels {
  const rest = { weights: {}, hash: '' };
  return {
    vqgan: { ...rest, folder: 'models/vqgan', config: { ...TINY_VQGAN, ...vqgan } },
    clip: { ...rest, folder: 'models/clip', config: { ...TINY_CLIP, ...clip } },
  };
}

function errorOf(settings: object, frozen: FrozenModels): unknown {
  try {
    return GptStage.config(parseTraining(gptTrainingSchema, settings), frozen);
  } catch (error) {
    return error;
  }
}

describe('the sizes of a preset', () => {
  it('follow the VQGAN and CLIP', () => {
    const config = GptStage.config(parseTraining(gptTrainingSchema, {}), frozenOf({}));
    const { width, layers, heads } = GPT_PRESETS['gpt-mini'];
    const expected = { model: 'gpt', tokens: 16, vocabularySize: 16, conditionSize: 8, width, layers, heads };
    expect(config).toEqual(expected);
  });

  it.each([
    [{ imageSize: 132 }, {}, 'model.tokens', 'Too big: expected number to be <=1024; got 1089'],
    [{ imageSize: 8192 }, {}, 'model.tokens', 'Too big: expected number to be <=1024; got 4194304'],
    [{ codebookSize: 2 ** 21 }, {}, 'model.vocabularySize', 'Too big: expected number to be <=1048576; got 2097152'],
    [{}, { embeddingSize: 8193 }, 'model.conditionSize', 'Too big: expected number to be <=8192; got 8193'],
  ])('are refused past what a transformer can have: %j %j', (vqgan, clip, setting, problem) => {
    const error = errorOf({}, frozenOf(vqgan, clip));
    expect(error).toBeInstanceOf(ClipGenError);
    expect(error).toMatchObject({
      code: 'failed_precondition',
      message: `${setting}, which follows the VQGAN models/vqgan and the CLIP models/clip: ${problem}; take smaller ones`,
    });
  });

  it('may be as large as a transformer can have', () => {
    const { tokens } = GptStage.config(parseTraining(gptTrainingSchema, {}), frozenOf({ imageSize: 128 }));
    expect(tokens).toBe(1024);
    expect(gptConfigSchema.safeParse({ ...GPT_PRESETS['gpt-mini'], tokens: tokens + 1 }).success).toBe(false);
  });
});

it.each([
  [{ tokens: 25 }, 'model.tokens must be 16, as the VQGAN and CLIP have it; got 25'],
  [{ vocabularySize: 17 }, 'model.vocabularySize must be 16, as the VQGAN and CLIP have it; got 17'],
  [{ conditionSize: 9 }, 'model.conditionSize must be 8, as the VQGAN and CLIP have it; got 9'],
])('refuses sizes that do not fit the VQGAN and CLIP: %j', (change, message) => {
  const sizes = { tokens: 16, vocabularySize: 16, conditionSize: 8, width: 8, layers: 1, heads: 1 };
  const error = errorOf({ model: { model: 'gpt', ...sizes, ...change } }, frozenOf({}));
  expect(error).toMatchObject({ code: 'failed_precondition', message });
});
