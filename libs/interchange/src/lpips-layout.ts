import { VGG16_CONVOLUTIONS } from '@clip-gen/losses';
import { z } from 'zod';
import { checkedConfig, notThis, type Shapes, type ForeignModel } from './foreign-model.ts';
import { copy, copyModule, type Rule } from './rule.ts';

const lpipsConfigSchema = z.strictObject({
  model: z.literal('lpips'),
  network: z.literal('vgg16'),
  /** Of the five slices. */
  channels: z.array(z.int().min(1).max(4096)).length(5),
});

/** Sizes of an LPIPS network, as its `config.json` holds them. */
export type LpipsConfig = z.infer<typeof lpipsConfigSchema>;

/** Where a whole LPIPS lies in files: by itself, in a VQGAN's loss, in a wrapper. */
const PREFIXES = ['', 'loss.perceptual_loss.', 'perceptual_loss.', 'perceptual.', 'lpips.', 'model.'];

/**
 * LPIPS over VGG16: a whole one (`net.slice1.0`, `lin0.model.1`), also inside a VQGAN's checkpoint; or torchvision's
 * VGG16 (`features.0`) with the linear heads of another file, whose tensors are then in `shapes` too.
 *
 * @throws failed_precondition for another model
 */
export function readLpips(shapes: Shapes): ForeignModel<LpipsConfig> {
  const prefix = PREFIXES.find((start) => shapes.has(`${start}net.slice1.0.weight`));
  if (prefix === undefined && !shapes.has('features.0.weight')) {
    throw notThis(
      shapes.path,
      'LPIPS over VGG16',
      "it has neither net.slice1.0.weight nor torchvision's features.0.weight",
    );
  }
  const heads = prefix ?? '';
  if (!shapes.has(`${heads}lin0.model.1.weight`)) {
    throw notThis(
      shapes.path,
      'whole LPIPS',
      'it has no linear heads (lin0.model.1.weight); give their file by --linear',
    );
  }
  const theirs = (slice: number, index: number): string =>
    prefix === undefined ? `features.${index}` : `${prefix}net.slice${slice + 1}.${index}`;
  const config = checkedConfig(lpipsConfigSchema, shapes.path, {
    model: 'lpips',
    network: 'vgg16',
    channels: VGG16_CONVOLUTIONS.map(([index], slice) => shapes.of(`${theirs(slice, index)}.weight`, 4)[0]),
  });
  const rules: Rule[] = VGG16_CONVOLUTIONS.flatMap((indices, slice) => [
    ...indices.flatMap((index) => copyModule(`net.slice${slice + 1}.${index}`, theirs(slice, index))),
    copy(`lin${slice}.model.1.weight`, `${heads}lin${slice}.model.1.weight`),
  ]);
  return {
    layout: prefix === undefined ? 'VGG16 of torchvision with linear heads' : 'LPIPS over VGG16',
    config,
    rules,
    // Inside another model's file all else is that model's.
    ignored: heads === '' ? /^(scaling_layer\.(shift|scale)|lins\..*|classifier\..*)$/ : /^/,
  };
}
