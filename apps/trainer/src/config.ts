import { clipConfigSchema, CLIP_PRESETS } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema, GPT_PRESETS } from '@clip-gen/gpt';
import { PREVIEW_PRESETS, previewConfigSchema, vqganConfigSchema, VQGAN_PRESETS } from '@clip-gen/vqgan';
import { z } from 'zod';

const fraction = z.number().min(0).max(1);
const count = z.int().min(0).max(1_000_000_000);

/** What all stages share. Defaults suit a data set of some ten thousand small pictures. */
const common = {
  batchSize: z.int().min(1).max(65_536).default(32).describe('Pictures a run of the graph, in each process'),
  accumulate: z
    .int()
    .min(1)
    .max(65_536)
    .default(1)
    .describe('Runs of `batchSize` pictures whose gradients make one step: larger batches in the same memory'),
  epochs: z.int().min(1).max(100_000).default(100).describe('Passes over the data'),
  learningRate: z.number().positive().max(1).default(3e-4).describe('Peak of the schedule'),
  warmupEpochs: z.number().min(0).default(0.5).describe('Epochs of linear warm-up from 0; may be a fraction'),
  schedule: z
    .enum(['cosine', 'constant'])
    .default('cosine')
    .describe('After the warm-up: `cosine` falls to 0 at the last step, `constant` stays'),
  beta1: fraction.max(0.9999).default(0.9).describe('Decay of the first moment of AdamW'),
  beta2: fraction.max(0.999999).default(0.95).describe('Decay of its second moment'),
  weightDecay: z.number().min(0).max(10).default(0.01).describe('Decoupled, on matrices only'),
  gradientClip: z.number().min(0).default(1).describe('Gradients are scaled down to this global norm; 0 = not'),
  averageDecay: fraction
    .default(0)
    .describe('Decay of the exponential moving average of the weights, which then is what is exported; 0 = none'),
  seed: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe('Of the starting weights, the order of pictures and all other draws'),
  validationFraction: fraction
    .max(0.5)
    .default(0.02)
    .describe('Share of the pictures, chosen by the hash of their path, that is held back for validation'),
  validationBatches: count.default(16).describe('Validation batches at most, so that it stays short'),
  checkpointSeconds: z.number().min(1).default(300).describe('Seconds between checkpoints'),
  threads: z.int().min(0).max(1024).default(0).describe('Threads of the engine; 0 = one a core'),
};

/** Of the stages whose steps need no other process. */
const localSteps = {
  localSteps: z
    .strictObject({
      steps: z
        .int()
        .min(1)
        .max(1_000_000)
        .describe('Steps that each process takes alone before all exchange what they made of the parameters'),
      outerLearningRate: z
        .number()
        .positive()
        .max(10)
        .default(0.7)
        .describe('Of the outer step along the mean of that (arXiv 2311.08105)'),
      outerMomentum: fraction.max(0.9999).default(0.9).describe("Of the outer step's Nesterov momentum; 0 = none"),
      deltaBits: z
        .literal([8, 16, 32])
        .default(32)
        .describe('Bits of a value on its way: 32 = float32, 16 = bfloat16, 8 = blocks of 128 with a scale each'),
      lateSeconds: z
        .number()
        .min(1)
        .max(86_400)
        .default(60)
        .describe('So long the others wait for a process at the end of a round; then they go on without it'),
    })
    .optional(),
};

/** What the stages that see the pictures themselves share besides. */
const pictures = {
  augmentation: z
    .strictObject({
      flip: z.boolean().default(false).describe('Mirror half of the pictures'),
      shiftPixels: z
        .int()
        .min(0)
        .max(256)
        .default(0)
        .describe('The crop may leave the picture by so many pixels, onto white'),
      brightness: fraction.default(0).describe('Largest share by which the brightness is changed'),
      contrast: fraction.default(0).describe('The same for the contrast'),
      saturation: fraction.default(0).describe('The same for the saturation'),
    })
    .prefault({}),
};

/** The same setting with another default. */
function redefault<T extends z.ZodType>(setting: z.ZodDefault<T>, value: z.output<T> & {}): z.ZodDefault<T> {
  return setting
    .unwrap()
    .default(value as never)
    .describe(setting.description ?? '');
}

/** `clip-gen train clip`: the only stage that reads text. */
export const clipTrainingSchema = z.strictObject({
  model: z
    .union([z.enum(Object.keys(CLIP_PRESETS) as [keyof typeof CLIP_PRESETS]), clipConfigSchema])
    .default('vit-64')
    .describe('A preset, or the sizes of a model as `config.json` has them'),
  vocabularySize: z
    .int()
    .min(0)
    .max(49_408)
    .refine((size) => size === 0 || size >= 514, 'Too small: expected 0 or at least 514, the bytes and two marks')
    .default(8192)
    .describe("Tokens of a vocabulary cut to the captions; 0 = OpenAI's 49,408"),
  ...common,
  ...pictures,
  batchSize: redefault(common.batchSize, 128),
  weightDecay: redefault(common.weightDecay, 0.1),
  beta2: redefault(common.beta2, 0.98),
});

const perceptualSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  /** Features of a trained CLIP image encoder: the folder of the model. */
  z.strictObject({ kind: z.literal('clip'), path: z.string().min(1), weight: z.number().min(0).default(1) }),
  /** LPIPS over VGG16: a .safetensors file of its weights. */
  z.strictObject({ kind: z.literal('lpips'), path: z.string().min(1), weight: z.number().min(0).default(1) }),
]);

/** `clip-gen train vqgan`: images alone. */
export const vqganTrainingSchema = z.strictObject({
  model: z
    .union([z.enum(Object.keys(VQGAN_PRESETS) as [keyof typeof VQGAN_PRESETS]), vqganConfigSchema])
    .default('vqgan-f8-2048')
    .describe('A preset, or the sizes of a model as `config.json` has them'),
  ...common,
  ...localSteps,
  ...pictures,
  beta1: redefault(common.beta1, 0.5),
  beta2: redefault(common.beta2, 0.9),
  weightDecay: redefault(common.weightDecay, 0),
  l1: z.number().min(0).default(1).describe('Weight of the mean absolute difference'),
  mse: z
    .number()
    .min(0)
    .default(0)
    .describe('Weight of the mean squared difference: 0 in the released recipe; it raises the PSNR'),
  quantizer: z.number().min(0).default(1).describe('Weight of the codebook and commitment loss'),
  perceptual: perceptualSchema
    .default({ kind: 'none' })
    .describe('Also compare pictures through a frozen network: an object of `kind`, `path` and `weight`'),
  adversarial: z
    .strictObject({
      weight: z.number().min(0).default(0.8).describe('Factor of the adaptive weight; 0 = no discriminator'),
      startEpoch: count.default(1).describe('The epoch, counted from 0, from which the discriminator takes part'),
      learningRate: z
        .number()
        .positive()
        .max(1)
        .optional()
        .describe('Of the discriminator, without a schedule; when not set, that of the rest'),
    })
    .prefault({}),
  reviveSteps: count
    .default(100)
    .describe('Steps of a window after which codes that no latent chose are moved to latents of the batch; 0 = never'),
});

/** `clip-gen train gpt`: images alone, through the frozen VQGAN and CLIP. */
export const gptTrainingSchema = z.strictObject({
  model: z
    .union([z.enum(Object.keys(GPT_PRESETS) as [keyof typeof GPT_PRESETS]), gptConfigSchema])
    .default('gpt-mini')
    .describe(
      'A preset, whose token count, vocabulary and condition follow the VQGAN and CLIP, or all sizes as `config.json` has them',
    ),
  ...common,
  ...localSteps,
  conditionDropout: fraction
    .default(0.1)
    .describe('Share of pictures trained without their condition (a zero vector), so that guidance works'),
  conditionNoise: z
    .number()
    .min(0)
    .max(10)
    .default(0)
    .describe(
      'Length of the random vector added to each unit condition, which is then scaled back to unit length; 0 = none',
    ),
  tokenNoise: fraction
    .default(0)
    .describe(
      'Each picture draws a share from [0, this]; so many of the tokens before are replaced, half of them by random codes and half by those of other pictures at the same place, so that the transformer learns to heed its condition and to recover from its own slips; 0 = none',
    ),
  support: z
    .strictObject({
      rows: z
        .number()
        .int()
        .min(0)
        .max(1 << 20)
        .default(16_384)
        .describe('Image embeddings kept beside the model, among which a text embedding is carried; 0 = none'),
      temperature: z.number().positive().max(10).default(0.02).describe('Of the softmax over their cosines with it'),
      neighbours: z.number().int().min(1).max(1024).default(32).describe('Nearest ones that take part'),
    })
    .prefault({}),
  embeddingLoss: z
    .number()
    .min(0)
    .default(0)
    .describe(
      'Weight λ of the CLIP-embedding reconstruction loss (arXiv 2203.00386, section 3.3); 0 as in the released code',
    ),
});

/** `clip-gen train preview`: images alone, through the frozen VQGAN. */
export const previewTrainingSchema = z.strictObject({
  model: z
    .union([z.enum(Object.keys(PREVIEW_PRESETS) as [keyof typeof PREVIEW_PRESETS]), previewConfigSchema])
    .default('preview-f8-2048')
    .describe('A preset, whose grid, codes and picture follow the VQGAN, or all sizes as `config.json` has them'),
  ...common,
  ...pictures,
  epochs: redefault(common.epochs, 40),
  learningRate: redefault(common.learningRate, 2e-3),
  beta2: redefault(common.beta2, 0.99),
  weightDecay: redefault(common.weightDecay, 0),
  l1: z.number().min(0).default(1).describe("Weight of the mean absolute difference from the VQGAN's picture"),
  mse: z.number().min(0).default(2).describe('Weight of the mean squared difference from it: it raises the PSNR'),
  original: fraction
    .default(0)
    .describe("Share of the picture itself in what is learned, in place of the VQGAN's picture of it"),
  perceptual: perceptualSchema
    .default({ kind: 'none' })
    .describe('Also compare pictures through a frozen network: an object of `kind`, `path` and `weight`'),
  keepMegabytes: count
    .default(1024)
    .describe(
      "Memory in each process for pictures, tokens and the VQGAN's pictures: where all fit and nothing is augmented, they are made once, of middle crops, instead of in every epoch, which is most of the time; 0 = none",
    ),
});

export type CommonTraining = Omit<z.infer<typeof gptTrainingSchema>, 'model'>;
export type LocalStepsSettings = NonNullable<z.infer<typeof gptTrainingSchema>['localSteps']>;
export type ClipTraining = z.infer<typeof clipTrainingSchema>;
export type VqganTraining = z.infer<typeof vqganTrainingSchema>;
export type GptTraining = z.infer<typeof gptTrainingSchema>;
export type PreviewTraining = z.infer<typeof previewTrainingSchema>;

/**
 * Checks settings against a schema and fills in the defaults.
 *
 * @throws invalid_argument that names the field, what it must be and, for an unknown one, its name
 */
export function parseTraining<S extends z.ZodType>(schema: S, settings: unknown): z.output<S> {
  const result = schema.safeParse(settings, { reportInput: true });
  if (result.success) return result.data;
  const { path, message, input } = closestIssue(result.error.issues[0]!);
  const name = path.length > 0 ? `${path.join('.')}: ` : '';
  const got = input === undefined || path.length === 0 ? '' : `; got ${JSON.stringify(input).slice(0, 80)}`;
  throw new ClipGenError('invalid_argument', `training settings: ${name}${message}${got}`);
}

type Issue = z.core.$ZodIssue;

/** Of a value that fits none of several forms: what is wrong with the form that it comes closest to. */
function closestIssue(issue: Issue): Issue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  const isObject = typeof issue.input === 'object';
  const firsts = issue.errors.map((issues) => issues[0]!);
  const close = firsts.find((first) => (first.path.length > 0 || first.code === 'unrecognized_keys') === isObject);
  const found = close ?? firsts[0]!;
  return closestIssue({ ...found, path: [...issue.path, ...found.path] });
}

/** The environment, which is read here alone. */
export function environment(): NodeJS.ProcessEnv {
  return process.env;
}
