import { vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { checkedConfig, notThis, type Shapes, type ForeignModel } from './foreign-model.ts';
import { copy, copyModule, copyModules, type Rule } from './rule.ts';
import { checkTamingSettings, tamingResolution } from './taming-settings.ts';
import { PUBLISHED_GROUPS, PUBLISHED_SIDE, sizeNotes, type VqganHints } from './vqgan-hints.ts';

/** GroupNorm's epsilon there. */
const NORM_EPSILON = 1e-6;

/**
 * A VQGAN of taming-transformers or latent-diffusion, whose names tell its structure: levels `encoder.down.L`, finest
 * first, each with `block.I`, `attn.I` and `downsample`; `quant_conv` and `post_quant_conv` around `quantize`.
 *
 * @throws failed_precondition for what clip-gen's function cannot be, by name
 */
export function readTamingVqgan(shapes: Shapes, hints: VqganHints): ForeignModel<VqganConfig> {
  refuseVarieties(shapes);
  const gumbel = shapes.has('quantize.embed.weight');
  const levels = shapes.count('encoder.down.', '.block.0.norm1.weight');
  const [channels = 0, inputs] = shapes.of('encoder.conv_in.weight', 4);
  if (inputs !== 3) throw notThis(shapes.path, 'VQGAN of colour pictures', `its encoder takes ${inputs} channels`);
  const level = Array.from({ length: levels }, (_, i) => ({
    width: shapes.of(`encoder.down.${i}.block.0.conv1.weight`, 4)[0]!,
    blocks: shapes.count(`encoder.down.${i}.block.`, '.norm1.weight'),
    attends: shapes.has(`encoder.down.${i}.attn.0.q.weight`),
  }));
  const codebook = gumbel ? 'quantize.embed.weight' : 'quantize.embedding.weight';
  const [codebookSize, codeSize = 0] = shapes.of(codebook, 2);
  const latentSize = shapes.of('encoder.conv_out.weight', 4)[0]!;
  const imageSize = hints.imageSize ?? tamingResolution(hints.settings) ?? PUBLISHED_SIDE;
  const config = checkedConfig(vqganConfigSchema, shapes.path, {
    model: 'vqgan',
    imageSize,
    patchSize: 1,
    channels,
    multipliers: level.map(({ width }) => width / channels),
    blocks: level[0]?.blocks,
    attentionSides: level.flatMap(({ attends }, i) => (attends ? [imageSize / 2 ** i] : [])),
    groups: hints.groups ?? PUBLISHED_GROUPS,
    codebookSize,
    codeSize,
    normEpsilon: NORM_EPSILON,
    ...(latentSize === codeSize ? {} : { latentSize }),
    ...(gumbel ? { codeChoice: 'projection' } : {}),
  });
  if (hints.settings) checkTamingSettings(hints.settings, config);
  const rules = [
    ...copyModule('encoder.conv_in'),
    ...encoderLevels(config),
    ...middle('encoder'),
    ...copyModules([
      ['encoder.final.0', 'encoder.norm_out'],
      ['encoder.final.2', 'encoder.conv_out'],
      ['encoder.final.3', 'quant_conv'],
      ['decoder.quant_conv_in', 'post_quant_conv'],
    ]),
    ...copyModule('decoder.conv_in'),
    ...middle('decoder'),
    ...decoderLevels(config),
    ...copyModules([
      ['decoder.final.0', 'decoder.norm_out'],
      ['decoder.final.2', 'decoder.conv_out'],
    ]),
    copy('quantizer.embedding.weight', codebook),
  ];
  const shortcuts = new Set(rules.filter(({ from }) => from[0]!.includes('nin_shortcut')).map(({ name }) => name));
  const layout = gumbel
    ? "VQGAN with Gumbel quantiser in taming-transformers' names"
    : "VQGAN in taming-transformers' names";
  return {
    layout,
    config,
    // A block has a shortcut where its channels change: there the file must have one, and nowhere else.
    rules: [
      ...rules.filter(({ name, from }) => !shortcuts.has(name) || shapes.has(from[0]!)),
      ...(gumbel
        ? [
            { name: 'quantizer.proj.weight', from: ['quantize.proj.weight'], transform: 'matrix' } as const,
            copy('quantizer.proj.bias', 'quantize.proj.bias'),
          ]
        : []),
    ],
    extras: discriminator(shapes),
    ignored: /^(loss|model_ema)\./,
    notes: [
      ...sizeNotes(hints),
      ...(gumbel ? ['codes: the likeliest one, without the Gumbel noise that training draws'] : []),
    ],
  };
}

/** Varieties of these programs by the names that give them away. */
const VARIETIES: readonly (readonly [RegExp, string])[] = [
  [/^quantize\.used$|^quantize\.re_embed/, 'its codes are remapped (quantize.used)'],
  [/\.conv_shortcut\./, 'its blocks have 3x3 shortcuts (conv_shortcut)'],
  [/\.temb_proj\./, 'its blocks take a time embedding (temb_proj)'],
  [/^encoder\.down\.\d+\.attn\.\d+\.(to_qkv|to_q)\./, 'its attention is linear or across'],
  [/^(encoder|decoder)\.(fc|transformer)\./, 'it has a transformer inside'],
];

function refuseVarieties(shapes: Shapes): void {
  const { path } = shapes;
  for (const name of shapes.weights.keys()) {
    const found = VARIETIES.find(([pattern]) => pattern.test(name));
    if (found) throw notThis(path, "VQGAN that clip-gen's function can be", found[1]);
  }
  if (!shapes.has('quantize.embedding.weight') && !shapes.has('quantize.embed.weight')) {
    throw notThis(path, 'VQGAN', 'it has no codebook (quantize.embedding); a KL autoencoder has none');
  }
  if (shapes.has('encoder.down.0.block.0.norm1.weight') && !shapes.has('encoder.mid.attn_1.q.weight')) {
    throw notThis(
      path,
      "VQGAN that clip-gen's function can be",
      'it has no attention in the middle (encoder.mid.attn_1)',
    );
  }
}

function encoderLevels({ multipliers, blocks, attentionSides, imageSize }: VqganConfig): Rule[] {
  let index = 0;
  return multipliers.flatMap((_, level) => {
    const [theirs, rules] = [`encoder.down.${level}`, [] as Rule[]];
    for (let i = 0; i < blocks; i++) {
      rules.push(...residual(`encoder.down.${index++}`, `${theirs}.block.${i}`));
      if (attentionSides.includes(imageSize / 2 ** level)) {
        rules.push(...attention(`encoder.down.${index++}`, `${theirs}.attn.${i}`));
      }
    }
    if (level < multipliers.length - 1) {
      rules.push(...copyModule(`encoder.down.${index++}.conv`, `${theirs}.downsample.conv`));
    }
    return rules;
  });
}

/** `decoder.up.0` is the finest level there and the last to run. */
function decoderLevels({ multipliers, blocks, attentionSides, imageSize }: VqganConfig): Rule[] {
  let index = 0;
  return multipliers
    .map((_, level) => level)
    .reverse()
    .flatMap((level) => {
      const [theirs, rules] = [`decoder.up.${level}`, [] as Rule[]];
      for (let i = 0; i < blocks + 1; i++) {
        rules.push(...residual(`decoder.up.${index++}`, `${theirs}.block.${i}`));
        if (attentionSides.includes(imageSize / 2 ** level)) {
          rules.push(...attention(`decoder.up.${index++}`, `${theirs}.attn.${i}`));
        }
      }
      if (level > 0) rules.push(...copyModule(`decoder.up.${index++}.conv`, `${theirs}.upsample.conv`));
      return rules;
    });
}

function middle(side: 'encoder' | 'decoder'): Rule[] {
  return [
    ...residual(`${side}.mid.0`, `${side}.mid.block_1`),
    ...attention(`${side}.mid.1`, `${side}.mid.attn_1`),
    ...residual(`${side}.mid.2`, `${side}.mid.block_2`),
  ];
}

function residual(ours: string, theirs: string): Rule[] {
  return copyModules([
    [`${ours}.block.0`, `${theirs}.norm1`],
    [`${ours}.block.2`, `${theirs}.conv1`],
    [`${ours}.block.3`, `${theirs}.norm2`],
    [`${ours}.block.6`, `${theirs}.conv2`],
    [`${ours}.shortcut`, `${theirs}.nin_shortcut`],
  ]);
}

/** Queries, keys, values and what comes out are 1×1 convolutions there, matrices here. */
function attention(ours: string, theirs: string): Rule[] {
  const parts = (kind: string): string[] => ['q', 'k', 'v'].map((part) => `${theirs}.${part}.${kind}`);
  return [
    ...copyModule(`${ours}.norm`, `${theirs}.norm`),
    { name: `${ours}.attn.in_proj_weight`, from: parts('weight'), transform: 'stack' },
    { name: `${ours}.attn.in_proj_bias`, from: parts('bias'), transform: 'stack' },
    { name: `${ours}.attn.out_proj.weight`, from: [`${theirs}.proj_out.weight`], transform: 'matrix' },
    copy(`${ours}.attn.out_proj.bias`, `${theirs}.proj_out.bias`),
  ];
}

/** A PatchGAN with BatchNorm under the loss: the last of its numbered layers is the head. */
function discriminator(shapes: Shapes): Rule[] {
  const at = /^loss\.discriminator\.main\.(\d+)\.(weight|bias|running_mean|running_var|num_batches_tracked)$/;
  const found = [...shapes.weights.keys()].flatMap((name) => {
    const [, index, kind] = at.exec(name) ?? [];
    return index === undefined ? [] : [{ name, index: Number(index), kind }];
  });
  const head = Math.max(...found.map(({ index }) => index));
  return found.map(({ name, index, kind }) =>
    copy(index === head ? `discriminator.head.${kind}` : `discriminator.features.${index}.${kind}`, name),
  );
}
