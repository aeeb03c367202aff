import { vqganConfigSchema, type VqganConfig } from '@clip-gen/vqgan';
import { ClipGenError } from '@clip-gen/errors';
import { checkedConfig, notThis, type Shapes, type ForeignModel } from './foreign-model.ts';
import { copy, type Rule } from './rule.ts';
import { readTamingVqgan } from './taming-vqgan.ts';
import { PUBLISHED_GROUPS, PUBLISHED_SIDE, sizeNotes, type VqganHints } from './vqgan-hints.ts';

/**
 * A VQGAN of clip-gen's names or taming-transformers'.
 *
 * @throws failed_precondition for another model, or a variety that clip-gen's function cannot be
 */
export function readVqgan(shapes: Shapes, hints: VqganHints): ForeignModel<VqganConfig> {
  if (shapes.has('quantizer.embedding.weight')) return clipGenVqgan(shapes, hints);
  if (shapes.has('decoder.conv_out.weight')) return readTamingVqgan(shapes, hints);
  throw notThis(shapes.path, 'VQGAN', "it has neither clip-gen's quantizer.embedding nor taming's decoder.conv_out");
}

/** A level of the decoder, coarsest first. */
interface Level {
  readonly width: number;
  readonly blocks: number;
  readonly attends: boolean;
}

function clipGenVqgan(shapes: Shapes, hints: VqganHints): ForeignModel<VqganConfig> {
  const { path } = shapes;
  const levels = decoderLevels(shapes);
  const widths = levels.map(({ width }) => width).reverse();
  const [codebookSize, codeSize] = shapes.of('quantizer.embedding.weight', 2);
  const patchSize = Math.sqrt(shapes.of('decoder.final.2.weight', 4)[0]! / 3);
  const patchWise = shapes.has('encoder.blocks.0.fc1.weight');
  const channels = patchWise ? Math.min(...widths) : shapes.of('encoder.conv_in.weight', 4)[0]!;
  const blocks = new Set(levels.map((level) => level.blocks - 1));
  if (blocks.size !== 1) {
    throw notThis(
      path,
      'VQGAN of clip-gen',
      `its decoder levels have ${[...blocks].map((n) => n + 1).join(', ')} blocks`,
    );
  }
  const imageSize = hints.imageSize ?? PUBLISHED_SIDE;
  const config = checkedConfig(vqganConfigSchema, path, {
    model: 'vqgan',
    imageSize,
    patchSize,
    channels,
    multipliers: widths.map((width) => width / channels),
    blocks: [...blocks][0],
    attentionSides: levels.flatMap(({ attends }, i) =>
      attends ? [imageSize / patchSize / 2 ** (levels.length - 1 - i)] : [],
    ),
    groups: hints.groups ?? PUBLISHED_GROUPS,
    codebookSize,
    codeSize,
    ...(patchWise
      ? {
          patchEncoder: {
            width: shapes.of('encoder.conv_in.weight', 4)[0],
            blocks: shapes.count('encoder.blocks.', '.fc1.weight'),
          },
        }
      : {}),
  });
  const names = [...shapes.weights.keys()];
  const ours = (part: RegExp): Rule[] => names.filter((name) => part.test(name)).map((name) => copy(name));
  return {
    layout: "VQGAN in clip-gen's names",
    config,
    rules: ours(/^(encoder|decoder|quantizer)\./),
    extras: ours(/^discriminator\./),
    notes: sizeNotes(hints),
  };
}

/** clip-gen numbers the decoder's blocks, attentions and upsamplings one after the other: the levels end at these. */
function decoderLevels(shapes: Shapes): Level[] {
  const levels: Level[] = [];
  let [blocks, attentions, width] = [0, 0, 0];
  const close = (): void => {
    if (blocks === 0 || (attentions !== 0 && attentions !== blocks)) {
      throw new ClipGenError(
        'failed_precondition',
        `${shapes.path}: decoder level ${levels.length} must have attention after all of its blocks or none; ` +
          `got ${attentions} after ${blocks}`,
      );
    }
    levels.push({ width, blocks, attends: attentions > 0 });
    [blocks, attentions] = [0, 0];
  };
  for (let i = 0; ; i++) {
    const at = `decoder.up.${i}`;
    if (shapes.has(`${at}.block.2.weight`)) {
      blocks++;
      width = shapes.of(`${at}.block.2.weight`, 4)[0]!;
    } else if (shapes.has(`${at}.norm.weight`)) attentions++;
    else if (shapes.has(`${at}.conv.weight`)) close();
    else break;
  }
  close();
  return levels;
}
