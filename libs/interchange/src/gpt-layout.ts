import { gptConfigSchema, type GptConfig } from '@clip-gen/gpt';
import { checkedConfig, notThis, type Shapes, type ForeignModel } from './foreign-model.ts';
import { copy } from './rule.ts';

/** What a GPT's weights do not tell. */
export interface GptHints {
  /** Width / 64, as in the released sizes, when left out. */
  readonly heads?: number;
}

const HEAD_WIDTH = 64;

/** clip-gen's conditional transformer. @throws failed_precondition for another model */
export function readGpt(shapes: Shapes, hints: GptHints): ForeignModel<GptConfig> {
  if (!shapes.has('cond_proj.weight') || !shapes.has('tok_emb.weight')) {
    throw notThis(shapes.path, "transformer of clip-gen's", 'it has no cond_proj.weight and tok_emb.weight');
  }
  const [vocabularySize, width = 0] = shapes.of('tok_emb.weight', 2);
  const config = checkedConfig(gptConfigSchema, shapes.path, {
    model: 'gpt',
    tokens: shapes.of('pos_emb', 3)[1],
    vocabularySize,
    conditionSize: shapes.of('cond_proj.weight', 2)[1],
    width,
    layers: shapes.count('blocks.', '.encoder.norm1.weight'),
    heads: hints.heads ?? Math.max(1, Math.floor(width / HEAD_WIDTH)),
  });
  const mask = /^blocks\.\d+\.mask$/;
  const names = [...shapes.weights.keys()].filter((name) => !mask.test(name));
  return {
    layout: "transformer in clip-gen's names",
    config,
    rules: names
      .filter((name) => /^(tok_emb|pos_emb|cond_proj|blocks|norm|head)(\.|$)/.test(name))
      .map((name) => copy(name)),
    ignored: mask,
    notes:
      hints.heads === undefined
        ? [`heads: ${config.heads} of width ${width / config.heads}; --heads says otherwise`]
        : [],
  };
}
