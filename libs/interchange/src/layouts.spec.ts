import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { CLIP_PRESETS } from '@clip-gen/clip';
import { GPT_PRESETS } from '@clip-gen/gpt';
import type { ParameterSpec } from '@clip-gen/nn';
import { tensor } from '@clip-gen/tensor';
import { VQGAN_PRESETS } from '@clip-gen/vqgan';
import { describe, expect, it } from 'vitest';
import { readClip } from './clip-layouts.ts';
import { clipHints } from './clip-sizes.ts';
import { clipParameters, gptParameters, lpipsParameters, vqganParameters } from './expected-parameters.ts';
import { Shapes, type ForeignModel } from './foreign-model.ts';
import { readGpt } from './gpt-layout.ts';
import { planImport, type PlanOptions } from './import-plan.ts';
import { readLpips } from './lpips-layout.ts';
import { readSettings, Settings } from './settings.ts';
import { readVqgan } from './vqgan-layouts.ts';
import type { WeightSource } from './weight-source.ts';

type Named = Record<string, readonly number[]>;

const golden = (name: string): string => fileURLToPath(new URL(`../goldens/${name}`, import.meta.url));
const PUBLISHED = JSON.parse(gunzipSync(readFileSync(golden('names.json.gz'))).toString()) as Record<string, Named>;
const published = (name: string): Named => ({ ...PUBLISHED[name]! });

/** A file that has names and shapes alone. */
function fileOf(names: Named, type = 'float32', fileBytes = 2 ** 40): WeightSource {
  return {
    path: 'a.pt',
    format: 'zip',
    fileBytes,
    weights: new Map(Object.entries(names).map(([name, shape]) => [name, { type, shape }])),
    read: () => Promise.resolve(tensor('float32', [0], new Float32Array())),
    close: () => Promise.resolve(),
  };
}

const shapesOf = (names: Named): Shapes => new Shapes('a.pt', fileOf(names).weights);
const STRICT: PlanOptions = { dtype: 'keep', allowUnknown: false };

function plan(names: Named, model: ForeignModel<unknown>, expected: readonly ParameterSpec[], options = STRICT) {
  return planImport(fileOf(names), model, expected, options);
}

describe('published models', () => {
  it.each([
    ['clip-b32', CLIP_PRESETS['vit-b-32'], 3],
    ['clip-b16', { ...CLIP_PRESETS['vit-b-32'], vision: { ...CLIP_PRESETS['vit-b-32'].vision, patchSize: 16 } }, 0],
    [
      'clip-l14',
      {
        model: 'clip',
        embeddingSize: 768,
        vision: { imageSize: 224, patchSize: 14, width: 1024, layers: 24, heads: 16 },
        text: { contextLength: 77, vocabularySize: 49408, width: 768, layers: 12, heads: 12 },
      },
      0,
    ],
    ['clip-hugging-face-b32', CLIP_PRESETS['vit-b-32'], 2],
  ])('%s', (name, config, ignored) => {
    const names = published(name);
    const model = readClip(shapesOf(names), {});
    expect(model.config).toEqual(config);
    const found = plan(names, model, clipParameters(model.config));
    expect(found).toMatchObject({ unknown: [], extras: [] });
    expect(found.ignored).toHaveLength(ignored);
  });

  const { normEpsilon, ...taming } = { ...VQGAN_PRESETS['vqgan-f16-16384'], normEpsilon: 1e-6 };
  it.each([
    ['vqgan-coco', VQGAN_PRESETS['vqgan-f16-16384'], 22],
    ['vqgan-f16-1024', { ...taming, normEpsilon, codebookSize: 1024 }, 0],
    ['vqgan-f16-16384', { ...taming, normEpsilon }, 0],
    [
      'vqgan-f8-gumbel',
      {
        ...taming,
        normEpsilon,
        multipliers: [1, 1, 2, 4],
        attentionSides: [32],
        codebookSize: 8192,
        codeChoice: 'projection',
      },
      0,
    ],
    ['vqgan-f8-16384', { ...taming, normEpsilon, multipliers: [1, 2, 2, 4], attentionSides: [32], codeSize: 4 }, 0],
  ])('%s', (name, config, extras) => {
    const names = published(name);
    const model = readVqgan(shapesOf(names), {});
    expect(model.config).toEqual(config);
    const found = plan(names, model, vqganParameters(model.config));
    expect(found).toMatchObject({ unknown: [], ignored: [] });
    expect(found.extras).toHaveLength(extras);
  });

  it.each([
    ['gpt-coco', GPT_PRESETS['gpt2-medium']],
    ['gpt-large', GPT_PRESETS['gpt2-large']],
  ])('%s', (name, config) => {
    const names = published(name);
    const model = readGpt(shapesOf(names), {});
    expect(model.config).toEqual(config);
    expect(plan(names, model, gptParameters(model.config)).ignored).toHaveLength(config.layers);
  });

  it.each(['', 'loss.perceptual_loss.'])('lpips under "%s"', (prefix) => {
    const names = Object.fromEntries(
      Object.entries(published('lpips')).map(([name, shape]) => [prefix + name, shape] as const),
    );
    const model = readLpips(shapesOf(names));
    expect(model.config.channels).toEqual([64, 128, 256, 512, 512]);
    expect(plan(names, model, lpipsParameters(model.config.channels)).weights).toHaveLength(31);
  });
});

describe('what does not fit is named', () => {
  const names = published('gpt-coco');
  const model = readGpt(shapesOf(names), {});
  const expected = gptParameters(model.config);

  it('missing, mismatched and unknown at once', () => {
    const changed: Named = { ...names, 'head.bias': [3], strange: [1] };
    delete changed['norm.weight'];
    expect(() => plan(changed, model, expected)).toThrow(
      "a.pt, read as transformer in clip-gen's names: lacks norm.weight; " +
        'head.bias must make float [16384]; got float32 [3]; has unknown strange (--allow-unknown leaves them out)',
    );
  });

  it('unknown names can be left out, and are reported', () => {
    const options: PlanOptions = { ...STRICT, allowUnknown: true };
    expect(plan({ ...names, strange: [1] }, model, expected, options).unknown).toEqual(['strange']);
  });

  it('weights that are no floats', () => {
    const integers = { ...fileOf(names), weights: new Map(fileOf(names, 'int64').weights) };
    expect(() => planImport(integers, model, expected, STRICT)).toThrow(/must make float \[.*\]; got int64/);
  });

  it('a file whose tensors are many times its size', () => {
    const small = fileOf(names, 'float32', 100e6);
    expect(() => planImport(small, model, expected, STRICT)).toThrow(
      expect.objectContaining({ code: 'resource_exhausted' }),
    );
  });

  it.each<[string, (names: Named) => unknown, Named, RegExp]>([
    [
      'a ResNet CLIP',
      (n) => readClip(shapesOf(n), {}),
      { 'visual.layer1.0.conv1.weight': [1] },
      /a ResNet; take a ViT/,
    ],
    ['a timm CLIP', (n) => readClip(shapesOf(n), {}), { 'visual.trunk.x': [1] }, /one of timm/],
    ['no CLIP', (n) => readClip(shapesOf(n), {}), { w: [1] }, /is no CLIP: it has neither/],
    ['no VQGAN', (n) => readVqgan(shapesOf(n), {}), { w: [1] }, /is no VQGAN: it has neither/],
    ['no GPT', (n) => readGpt(shapesOf(n), {}), { w: [1] }, /no transformer of clip-gen's/],
    ['no LPIPS', (n) => readLpips(shapesOf(n)), { w: [1] }, /no LPIPS over VGG16/],
    ['VGG16 alone', (n) => readLpips(shapesOf(n)), { 'features.0.weight': [1] }, /give their file by --linear/],
  ])('%s', (_what, read, given, message) => {
    expect(() => read(given)).toThrow(message);
  });

  it.each<[string, (names: Named) => void, RegExp]>([
    ['remapped codes', (n) => (n['quantize.used'] = [9]), /its codes are remapped/],
    ['a KL autoencoder', (n) => delete n['quantize.embedding.weight'], /it has no codebook/],
    ['3x3 shortcuts', (n) => (n['encoder.down.0.block.0.conv_shortcut.weight'] = [1]), /conv_shortcut/],
    ['no attention in the middle', (n) => delete n['encoder.mid.attn_1.q.weight'], /no attention in the middle/],
    ['grey pictures', (n) => (n['encoder.conv_in.weight'] = [128, 1, 3, 3]), /takes 1 channels/],
    ['odd widths', (n) => (n['encoder.conv_in.weight'] = [100, 3, 3, 3]), /its sizes are not those of a model/],
  ])('a VQGAN with %s', (_what, change, message) => {
    const changed = published('vqgan-f16-1024');
    change(changed);
    expect(() => readVqgan(shapesOf(changed), {})).toThrow(message);
  });

  it('a CLIP whose positions make no square', () => {
    const changed = { ...published('clip-b32'), 'visual.positional_embedding': [51, 768] };
    expect(() => readClip(shapesOf(changed), {})).toThrow('must have a square of positions and one more; got 51');
  });
});

describe('settings', () => {
  const names = published('vqgan-f16-16384');

  it("taming's YAML agrees with the weights", async () => {
    const settings = await readSettings(golden('vqgan-f16-16384.yaml'));
    expect(readVqgan(shapesOf(names), { settings }).config.imageSize).toBe(256);
  });

  it.each([
    ['n_embed', 'n_embed: 16384', 'n_embed: 1024', /n_embed must be 16384, as the weights have; got 1024/],
    ['attention', '- 16\n', '- 32\n', /attn_resolutions must be \[16\], as the weights have at 256 pixels; got \[32\]/],
    ['levels', '- 4\n', '- 8\n', /ch_mult must be \[1, 1, 2, 2, 4\]/],
    ['double_z', 'double_z: false', 'double_z: true', /double_z must be false; got true/],
    ['remap', 'embed_dim', 'remap: a.npy\n    embed_dim', /remap must be null; got "a.npy"/],
    ['resolution', 'resolution: 256', 'resolution: 128', /attn_resolutions must be \[8\]/],
  ])('and is held against them: %s', async (_what, from, to, message) => {
    const text = readFileSync(golden('vqgan-f16-16384.yaml'), 'utf8').replace(from, to);
    const { parse } = await import('yaml');
    const settings = new Settings('a.yaml', parse(text));
    expect(() => readVqgan(shapesOf(names), { settings })).toThrow(message);
  });

  it.each([
    [
      "Hugging Face's",
      { vision_config: { hidden_act: 'gelu', num_attention_heads: 16 }, text_config: { hidden_act: 'gelu' } },
      { visionHeads: 16, textHeads: 8, activation: 'gelu' },
    ],
    [
      "open_clip's",
      { model_cfg: { vision_cfg: { width: 1280, head_width: 80 }, text_cfg: { heads: 16 } } },
      { visionHeads: 16, textHeads: 16, activation: 'gelu' },
    ],
    [
      "open_clip's with OpenAI's activation",
      { quick_gelu: true, vision_cfg: { width: 768 }, text_cfg: { heads: 8 } },
      { visionHeads: 12, textHeads: 8, activation: 'quickGelu' },
    ],
    ['of something else', { model_type: 'bert' }, undefined],
  ])('%s JSON', (_what, value, hints) => {
    expect(clipHints(new Settings('config.json', value))).toEqual(hints);
  });

  it.each([
    [{ vision_config: { layer_norm_eps: 1e-6 }, text_config: {} }, /vision_config.layer_norm_eps must be 1e-5/],
    [{ vision_config: { hidden_act: 'relu' }, text_config: {} }, /hidden_act must be quick_gelu or gelu; got "relu"/],
    [{ vision_config: { hidden_act: 'gelu' }, text_config: {} }, /must be that of the vision tower \(gelu\)/],
    [{ vision_cfg: { timm_model_name: 'vit' } }, /timm_model_name must be left out/],
  ])('refuses %j', (value, message) => {
    expect(() => clipHints(new Settings('config.json', value))).toThrow(message);
  });

  it('says what it took for granted', () => {
    expect(readClip(shapesOf(published('clip-b16')), {}).notes).toEqual([
      expect.stringMatching(/^activation: quick GELU/),
    ]);
    expect(readClip(shapesOf(published('clip-b32')), {}).notes).toEqual([]); // OpenAI's own
    expect(readVqgan(shapesOf(names), {}).notes).toEqual([expect.stringMatching(/^pictures: 256x256/)]);
  });
});
