import { clipConfigSchema, type ClipConfig } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { activationOf, textHeadsOf, visionHeadsOf, type ClipHints } from './clip-sizes.ts';
import { checkedConfig, notThis, type Shapes, type ForeignModel } from './foreign-model.ts';
import { copy, copyModule, type Rule } from './rule.ts';

/**
 * A CLIP of OpenAI's names (OpenAI's files, clip-gen's, open_clip's) or Hugging Face's.
 *
 * @throws failed_precondition for another model, or a CLIP that is no pair of ViT and causal text transformer
 */
export function readClip(shapes: Shapes, hints: ClipHints): ForeignModel<ClipConfig> {
  if (shapes.has('vision_model.embeddings.patch_embedding.weight')) return huggingFaceClip(shapes, hints);
  if (shapes.has('visual.conv1.weight') && shapes.has('visual.class_embedding')) return openAiClip(shapes, hints);
  const { path } = shapes;
  if (shapes.has('visual.layer1.0.conv1.weight')) {
    throw notThis(
      path,
      'CLIP with a vision transformer',
      'its vision tower is a ResNet; take a ViT-B/32, B/16 or L/14',
    );
  }
  if ([...shapes.weights.keys()].some((name) => name.startsWith('visual.trunk.'))) {
    throw notThis(path, "CLIP with open_clip's own vision transformer", 'its vision tower is one of timm');
  }
  throw notThis(path, 'CLIP', "it has neither OpenAI's visual.conv1.weight nor Hugging Face's vision_model.embeddings");
}

/** OpenAI's own archives carry it, and no other CLIP does. */
const OPENAI_MARK = 'input_resolution';

interface Sizes {
  readonly patch: readonly number[];
  readonly positions: readonly number[];
  readonly embeddingSize: number;
  readonly tokens: readonly number[];
  readonly textPositions: readonly number[];
  readonly visionLayers: number;
  readonly textLayers: number;
}

function configFrom(shapes: Shapes, sizes: Sizes, hints: ClipHints): { config: ClipConfig; notes: string[] } {
  const [visionWidth = 0, , patchSize = 0] = sizes.patch;
  const [vocabularySize = 0, textWidth = 0] = sizes.tokens;
  const [contextLength = 0] = sizes.textPositions;
  const [positions = 0] = sizes.positions;
  const side = Math.sqrt(positions - 1);
  if (!Number.isInteger(side) || side < 1) {
    const problem = `its vision tower must have a square of positions and one more; got ${positions}`;
    throw new ClipGenError('failed_precondition', `${shapes.path}: ${problem}`);
  }
  const guess = activationOf(visionWidth);
  const activation = hints.activation ?? guess.activation;
  const notes: string[] = [];
  if (hints.activation === undefined && !guess.certain && !shapes.has(OPENAI_MARK)) {
    notes.push(
      "activation: quick GELU, as in OpenAI's models; if this one has GELU, give its JSON by --config or --activation gelu",
    );
  }
  const config = checkedConfig(clipConfigSchema, shapes.path, {
    model: 'clip',
    embeddingSize: sizes.embeddingSize,
    vision: {
      imageSize: side * patchSize,
      patchSize,
      width: visionWidth,
      layers: sizes.visionLayers,
      heads: hints.visionHeads ?? visionHeadsOf(visionWidth),
    },
    text: {
      contextLength,
      vocabularySize,
      width: textWidth,
      layers: sizes.textLayers,
      heads: hints.textHeads ?? textHeadsOf(textWidth),
    },
    ...(activation === 'gelu' ? { activation } : {}),
  });
  return { config, notes };
}

function openAiClip(shapes: Shapes, hints: ClipHints): ForeignModel<ClipConfig> {
  // open_clip puts the text tower under `text.` when it was configured apart
  const text = shapes.has('text.token_embedding.weight') ? 'text.' : '';
  const visionLayers = shapes.count('visual.transformer.resblocks.', '.ln_1.weight');
  const textLayers = shapes.count(`${text}transformer.resblocks.`, '.ln_1.weight');
  const { config, notes } = configFrom(
    shapes,
    {
      patch: shapes.of('visual.conv1.weight', 4),
      positions: shapes.of('visual.positional_embedding', 2),
      embeddingSize: shapes.of('visual.proj', 2)[1]!,
      tokens: shapes.of(`${text}token_embedding.weight`, 2),
      textPositions: shapes.of(`${text}positional_embedding`, 2),
      visionLayers,
      textLayers,
    },
    hints,
  );
  const tower = (ours: string, theirs: string, layers: number): Rule[] =>
    Array.from({ length: layers }, (_, i) => [
      ...copyModule(`${ours}.${i}.ln_1`, `${theirs}.${i}.ln_1`),
      copy(`${ours}.${i}.attn.in_proj_weight`, `${theirs}.${i}.attn.in_proj_weight`),
      copy(`${ours}.${i}.attn.in_proj_bias`, `${theirs}.${i}.attn.in_proj_bias`),
      ...copyModule(`${ours}.${i}.attn.out_proj`, `${theirs}.${i}.attn.out_proj`),
      ...copyModule(`${ours}.${i}.ln_2`, `${theirs}.${i}.ln_2`),
      ...copyModule(`${ours}.${i}.mlp.c_fc`, `${theirs}.${i}.mlp.c_fc`),
      ...copyModule(`${ours}.${i}.mlp.c_proj`, `${theirs}.${i}.mlp.c_proj`),
    ]).flat();
  return {
    layout: text === '' ? "CLIP in OpenAI's names" : "CLIP in open_clip's names",
    config,
    notes,
    rules: [
      copy('visual.conv1.weight'),
      copy('visual.class_embedding'),
      copy('visual.positional_embedding'),
      ...copyModule('visual.ln_pre'),
      ...tower('visual.transformer.resblocks', 'visual.transformer.resblocks', visionLayers),
      ...copyModule('visual.ln_post'),
      copy('visual.proj'),
      copy('token_embedding.weight', `${text}token_embedding.weight`),
      copy('positional_embedding', `${text}positional_embedding`),
      ...tower('transformer.resblocks', `${text}transformer.resblocks`, textLayers),
      ...copyModule('ln_final', `${text}ln_final`),
      copy('text_projection', `${text}text_projection`),
      copy('logit_scale'),
    ],
    ignored: /^(input_resolution|context_length|vocab_size|(text\.)?attn_mask)$/,
  };
}

function huggingFaceClip(shapes: Shapes, hints: ClipHints): ForeignModel<ClipConfig> {
  const layers = (tower: string): number => shapes.count(`${tower}.encoder.layers.`, '.layer_norm1.weight');
  const { config, notes } = configFrom(
    shapes,
    {
      patch: shapes.of('vision_model.embeddings.patch_embedding.weight', 4),
      positions: shapes.of('vision_model.embeddings.position_embedding.weight', 2),
      embeddingSize: shapes.of('visual_projection.weight', 2)[0]!,
      tokens: shapes.of('text_model.embeddings.token_embedding.weight', 2),
      textPositions: shapes.of('text_model.embeddings.position_embedding.weight', 2),
      visionLayers: layers('vision_model'),
      textLayers: layers('text_model'),
    },
    hints,
  );
  const tower = (ours: string, theirs: string): Rule[] =>
    Array.from({ length: layers(theirs) }, (_, i) => {
      const [block, layer] = [`${ours}.${i}`, `${theirs}.encoder.layers.${i}`];
      const parts = (kind: string): string[] =>
        ['q', 'k', 'v'].map((part) => `${layer}.self_attn.${part}_proj.${kind}`);
      return [
        ...copyModule(`${block}.ln_1`, `${layer}.layer_norm1`),
        { name: `${block}.attn.in_proj_weight`, from: parts('weight'), transform: 'stack' },
        { name: `${block}.attn.in_proj_bias`, from: parts('bias'), transform: 'stack' },
        ...copyModule(`${block}.attn.out_proj`, `${layer}.self_attn.out_proj`),
        ...copyModule(`${block}.ln_2`, `${layer}.layer_norm2`),
        ...copyModule(`${block}.mlp.c_fc`, `${layer}.mlp.fc1`),
        ...copyModule(`${block}.mlp.c_proj`, `${layer}.mlp.fc2`),
      ] satisfies Rule[];
    }).flat();
  const projection = (name: string, from: string): Rule => ({ name, from: [from], transform: 'transpose' });
  return {
    layout: "CLIP in Hugging Face's names",
    config,
    notes,
    rules: [
      copy('visual.conv1.weight', 'vision_model.embeddings.patch_embedding.weight'),
      copy('visual.class_embedding', 'vision_model.embeddings.class_embedding'),
      copy('visual.positional_embedding', 'vision_model.embeddings.position_embedding.weight'),
      ...copyModule('visual.ln_pre', 'vision_model.pre_layrnorm'), // spelled so there
      ...tower('visual.transformer.resblocks', 'vision_model'),
      ...copyModule('visual.ln_post', 'vision_model.post_layernorm'),
      projection('visual.proj', 'visual_projection.weight'),
      copy('token_embedding.weight', 'text_model.embeddings.token_embedding.weight'),
      copy('positional_embedding', 'text_model.embeddings.position_embedding.weight'),
      ...tower('transformer.resblocks', 'text_model'),
      ...copyModule('ln_final', 'text_model.final_layer_norm'),
      projection('text_projection', 'text_projection.weight'),
      copy('logit_scale'),
    ],
    ignored: /^(vision|text)_model\.embeddings\.position_ids$/,
  };
}
