import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { clipConfigSchema } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema } from '@clip-gen/gpt';
import type { ParameterSpec } from '@clip-gen/nn';
import { writeSafetensorsFrom, type TensorSource } from '@clip-gen/safetensors';
import type { DType } from '@clip-gen/tensor';
import { previewConfigSchema, previewSide, vqganConfigSchema } from '@clip-gen/vqgan';
import { makeFolder, writeWhole } from '@clip-gen/whole-file';
import type { z } from 'zod';
import { readClip } from './clip-layouts.ts';
import { clipHints, type ClipHints } from './clip-sizes.ts';
import {
  clipParameters,
  gptParameters,
  lpipsParameters,
  previewParameters,
  vqganParameters,
} from './expected-parameters.ts';
import { checkedConfig, Shapes, type ForeignModel } from './foreign-model.ts';
import { readGpt } from './gpt-layout.ts';
import { planImport, type ImportPlan } from './import-plan.ts';
import { readLpips } from './lpips-layout.ts';
import { readPreview } from './preview-layout.ts';
import { converted, transformed, type WeightType } from './rule.ts';
import { readSettings, type Settings } from './settings.ts';
import { readVqgan } from './vqgan-layouts.ts';
import { openWeights, weightsUnder, type WeightSource } from './weight-source.ts';

/** The networks that can be imported. */
export const IMPORTED_MODELS = ['clip', 'vqgan', 'gpt', 'preview', 'lpips'] as const;
/** One of them. */
export type ImportedModel = (typeof IMPORTED_MODELS)[number];

/** What the weights do not tell, and how to store them. */
export interface ImportOptions {
  /** A settings file: clip-gen's own `config.json`, taming's YAML, Hugging Face's or open_clip's JSON. */
  readonly config?: string;
  /** A second file with LPIPS' linear heads. */
  readonly linear?: string;
  /** Heads of a transformer; of both towers of a CLIP. */
  readonly heads?: number;
  /** CLIP's. */
  readonly activation?: 'quickGelu' | 'gelu';
  /** Side of the pictures of a VQGAN or preview decoder. */
  readonly imageSize?: number;
  /** Default `keep`: float16 stays, everything else becomes float32. */
  readonly dtype?: WeightType | 'keep';
  readonly allowUnknown?: boolean;
}

/** What was written. */
export interface ImportReport {
  readonly layout: string;
  readonly format: WeightSource['format'];
  readonly config: object;
  readonly tensors: number;
  readonly bytes: number;
  readonly ignored: readonly string[];
  readonly unknown: readonly string[];
  readonly notes: readonly string[];
}

/**
 * Writes `OUT/model.safetensors` and `OUT/config.json` from another program's checkpoint: sizes from the shapes, one
 * tensor in memory at a time. Everything is checked before the folder is made; a folder that holds a model is refused.
 *
 * @throws what the readers of the formats throw; failed_precondition for a file that is not such a model, naming missing,
 * mismatched and unknown tensors
 */
export async function importCheckpoint(
  kind: ImportedModel,
  file: string,
  out: string,
  options: ImportOptions = {},
): Promise<ImportReport> {
  await refuseExisting(out);
  const sources: WeightSource[] = [];
  try {
    sources.push(await openWeights(file));
    if (options.linear !== undefined) sources.push(await openWeights(options.linear));
    const source = joined(sources, kind);
    const { model, expected } = await understand(kind, source, options);
    const { dtype = 'keep', allowUnknown = false } = options;
    const plan = planImport(source, model, expected, { dtype, allowUnknown });
    await write(out, source, plan, model.config as object);
    return {
      layout: model.layout,
      format: source.format,
      config: model.config as object,
      tensors: plan.weights.length + plan.extras.length,
      bytes: plan.bytes,
      ignored: plan.ignored,
      unknown: plan.unknown,
      notes: model.notes ?? [],
    };
  } finally {
    await Promise.all(sources.map((source) => source.close()));
  }
}

interface Understood {
  readonly model: ForeignModel<unknown>;
  readonly expected: readonly ParameterSpec[];
}

async function understand(kind: ImportedModel, source: WeightSource, options: ImportOptions): Promise<Understood> {
  const shapes = new Shapes(source.path, source.weights);
  const settings = await settingsFor(kind, source, options.config);
  switch (kind) {
    case 'clip': {
      const own = ownConfig(clipConfigSchema, settings, kind);
      const hints: ClipHints = {
        ...headHints(own),
        ...(settings && !own ? clipHints(settings) : {}),
        ...given(options),
      };
      const model = withConfig(readClip(shapes, hints), own);
      return { model, expected: clipParameters(model.config) };
    }
    case 'vqgan': {
      const own = ownConfig(vqganConfigSchema, settings, kind);
      const imageSize = options.imageSize ?? own?.imageSize;
      const hints = {
        ...(imageSize === undefined ? {} : { imageSize }),
        ...(own ? { groups: own.groups } : {}),
        ...(settings && !own ? { settings } : {}),
      };
      const model = withConfig(readVqgan(shapes, hints), own);
      return { model, expected: vqganParameters(model.config) };
    }
    case 'gpt': {
      const own = ownConfig(gptConfigSchema, settings, kind);
      const heads = options.heads ?? own?.heads;
      const model = withConfig(readGpt(shapes, heads === undefined ? {} : { heads }), own);
      return { model, expected: gptParameters(model.config) };
    }
    case 'preview': {
      const own = ownConfig(previewConfigSchema, settings, kind);
      const imageSize = options.imageSize ?? (own && previewSide(own));
      const model = withConfig(readPreview(shapes, imageSize === undefined ? {} : { imageSize }), own);
      return { model, expected: previewParameters(model.config) };
    }
    case 'lpips': {
      const model = readLpips(shapes);
      return { model, expected: lpipsParameters(model.config.channels) };
    }
  }
}

/** A configuration of clip-gen's own decides everything; the weights are held against it. */
function withConfig<C>(model: ForeignModel<C>, own: C | undefined): ForeignModel<C> {
  return own === undefined ? model : { ...model, config: own, notes: [] };
}

function ownConfig<S extends z.ZodType>(schema: S, settings: Settings | undefined, kind: string) {
  if (settings?.at('model') !== kind) return undefined;
  return checkedConfig(schema, settings.path, settings.at());
}

function headHints(own: z.output<typeof clipConfigSchema> | undefined): ClipHints {
  if (!own) return {};
  return { visionHeads: own.vision.heads, textHeads: own.text.heads, activation: own.activation ?? 'quickGelu' };
}

function given({ heads, activation }: ImportOptions): ClipHints {
  return {
    ...(heads === undefined ? {} : { visionHeads: heads, textHeads: heads }),
    ...(activation === undefined ? {} : { activation }),
  };
}

/** The file that was named; beside a CLIP also the one that its programs put there. */
async function settingsFor(
  kind: ImportedModel,
  source: WeightSource,
  path: string | undefined,
): Promise<Settings | undefined> {
  if (path !== undefined) return readSettings(path);
  if (kind !== 'clip') return undefined;
  for (const name of ['open_clip_config.json', 'config.json']) {
    const beside = join(dirname(source.path), name);
    const found = await access(beside).then(
      () => true,
      () => false,
    );
    if (!found) continue;
    // A file that nobody named may be anything.
    const settings = await readSettings(beside).catch(() => undefined);
    if (settings && (settings.at('model') === kind || clipHints(settings))) return settings;
  }
  return undefined;
}

/** Where a VQGAN lies in the checkpoint of a transformer that was trained on its tokens. */
const FIRST_STAGE = 'first_stage_model.';

function joined([first, second]: readonly WeightSource[], kind: ImportedModel): WeightSource {
  const source = first!;
  if (!second) {
    const inside = kind === 'vqgan' && source.weights.has(`${FIRST_STAGE}decoder.conv_out.weight`);
    return inside ? weightsUnder(source, FIRST_STAGE) : source;
  }
  return {
    ...source,
    fileBytes: source.fileBytes + second.fileBytes,
    weights: new Map([...source.weights, ...second.weights]),
    read: (name) => (second.weights.has(name) ? second : source).read(name),
  };
}

async function refuseExisting(out: string): Promise<void> {
  const found = await access(join(out, 'model.safetensors')).then(
    () => true,
    () => false,
  );
  if (!found) return;
  throw new ClipGenError('failed_precondition', `${out} holds a model already; name another folder, or remove it`);
}

/** The configuration comes last: without it a folder is no model. */
async function write(out: string, source: WeightSource, plan: ImportPlan, config: object): Promise<void> {
  const weights = plan.weights.map(({ name, shape, type, transform, from }): TensorSource => {
    const load = async () => {
      const tensors = [];
      for (const each of from) tensors.push(converted(await source.read(each), type));
      return transformed(transform, tensors);
    };
    return { name, dtype: type, shape, load };
  });
  const extras = plan.extras.map(({ name, from }): TensorSource => {
    const { type, shape } = source.weights.get(from[0]!)!;
    return { name, dtype: type as DType, shape, load: () => source.read(from[0]!) };
  });
  await makeFolder(out);
  await writeSafetensorsFrom(join(out, 'model.safetensors'), [...weights, ...extras], { format: 'pt' });
  await writeWhole(join(out, 'config.json'), (file) => file.writeFile(`${JSON.stringify(config, null, 2)}\n`));
}
