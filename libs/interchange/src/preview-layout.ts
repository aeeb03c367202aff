import { ClipGenError } from '@clip-gen/errors';
import { PREVIEW_CODES, previewConfigSchema, type PreviewConfig } from '@clip-gen/vqgan';
import { checkedConfig, notThis, type ForeignModel, type Shapes } from './foreign-model.ts';
import { copy } from './rule.ts';
import { PUBLISHED_SIDE, sizeNotes, type VqganHints } from './vqgan-hints.ts';

/** clip-gen's preview decoder. @throws failed_precondition for another model, or a picture's side that it cannot make */
export function readPreview(shapes: Shapes, hints: Pick<VqganHints, 'imageSize'>): ForeignModel<PreviewConfig> {
  const { path } = shapes;
  if (!shapes.has(PREVIEW_CODES) || !shapes.has('levels.0.conv_in.weight')) {
    throw notThis(path, "preview decoder of clip-gen's", `it has no ${PREVIEW_CODES} and levels.0.conv_in.weight`);
  }
  const [codebookSize, codeSize] = shapes.of(PREVIEW_CODES, 2);
  const levels = Array.from({ length: shapes.count('levels.', '.conv_in.weight') }, (_, i) => `levels.${i}`);
  const [places = 0] = shapes.of('conv_out.weight', 4);
  const patchSize = Math.sqrt(places / 3); // p·p·3 channels
  // Convolutions take any grid: what the picture's side says decides.
  const side = hints.imageSize ?? PUBLISHED_SIDE;
  const pixelsOfToken = 2 ** (levels.length - 1) * patchSize;
  if (Number.isInteger(patchSize) && side % pixelsOfToken !== 0) {
    const problem = `--image-size must be a multiple of ${pixelsOfToken}, the side of a token's pixels; got ${side}`;
    throw new ClipGenError('failed_precondition', `${path}: ${problem}`);
  }
  const config = checkedConfig(previewConfigSchema, path, {
    model: 'preview',
    gridSize: side / pixelsOfToken,
    codebookSize,
    codeSize,
    channels: levels.map((level) => shapes.of(`${level}.conv_in.weight`, 4)[0]),
    blocks: levels.map((level) => shapes.count(`${level}.blocks.`, '.weight')),
    patchSize,
  });
  const known = [...shapes.weights.keys()].filter((name) => /^(codebook|levels|conv_out)\./.test(name));
  return {
    layout: "preview decoder in clip-gen's names",
    config,
    rules: known.map((name) => copy(name)),
    notes: sizeNotes(hints),
  };
}
