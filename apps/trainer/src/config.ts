import { clipConfigSchema, CLIP_PRESETS } from '@clip-gen/clip';
import { ClipGenError } from '@clip-gen/errors';
import { gptConfigSchema, GPT_PRESETS } from '@clip-gen/gpt';
import { vqganConfigSchema, VQGAN_PRESETS } from '@clip-gen/vqgan';
import { z } from 'zod';

const fraction = z.number().min(0).max(1);
const count = z.int().min(0).max(1_000_000_000);

/** What all stages share. Defaults suit a data set of some ten thousand small pictures. */
const common = {
  /** Pictures a step. */
  batchSize: z.int().min(1).max(65_536).default(32),
  /** Passes over the data. */
  epochs: z.int().min(1).max(100_000).default(100),
  /** Peak of the schedule. */
  learningRate: z.number().positive().max(1).default(3e-4),
  /** Epochs of linear warm-up from 0; may be a fraction. */
  warmupEpochs: z.number().min(0).default(0.5),
  /** After the warm-up: `cosine` falls to 0 at the last step, `constant` stays. */
  schedule: z.enum(['cosine', 'constant']).default('cosine'),
  beta1: fraction.max(0.9999).default(0.9),
  beta2: fraction.max(0.999999).default(0.95),
  /** Decoupled, on matrices only. */
  weightDecay: z.number().min(0).max(10).default(0.01),
  /** Gradients are scaled down to this global norm; 0 = not. */
  gradientClip: z.number().min(0).default(1),
  /** Decay of the exponential moving average of the weights, which then is what is exported; 0 = none. */
  averageDecay: fraction.default(0),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  /** Share of the pictures, chosen by the hash of their path, that is held back for validation. */
  validationFraction: fraction.max(0.5).default(0.02),
  /** Validation batches at most, so that it stays short. */
  validationBatches: count.default(16),
  /** Seconds between checkpoints. */
  checkpointSeconds: z.number().min(1).default(300),
  /** Threads of the engine; 0 = all cores. */
  threads: z.int().min(0).max(1024).default(0),
  augmentation: z
    .strictObject({
      flip: z.boolean().default(false),
      /** The crop may leave the picture by so many pixels, onto white. */
      shiftPixels: z.int().min(0).max(256).default(0),
      brightness: fraction.default(0),
      contrast: fraction.default(0),
      saturation: fraction.default(0),
    })
    .prefault({}),
};

/** `clip-gen train clip`: the only stage that reads text. */
export const clipTrainingSchema = z.strictObject({
  model: z
    .union([z.enum(Object.keys(CLIP_PRESETS) as [keyof typeof CLIP_PRESETS]), clipConfigSchema])
    .default('vit-64'),
  /** Tokens of a vocabulary cut to the captions; 0 = OpenAI's 49,408. */
  vocabularySize: z.int().min(0).max(49_408).default(8192),
  ...common,
  batchSize: common.batchSize.default(128),
  weightDecay: common.weightDecay.default(0.1),
  beta2: common.beta2.default(0.98),
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
    .default('vqgan-f8-1024'),
  ...common,
  beta1: common.beta1.default(0.5),
  beta2: common.beta2.default(0.9),
  weightDecay: common.weightDecay.default(0),
  /** Weight of the mean absolute difference. */
  l1: z.number().min(0).default(1),
  /** Weight of the mean squared difference: 0 in the released recipe; it raises the PSNR. */
  mse: z.number().min(0).default(0),
  quantizer: z.number().min(0).default(1),
  perceptual: perceptualSchema.default({ kind: 'none' }),
  adversarial: z
    .strictObject({
      /** Factor of the adaptive weight; 0 = no discriminator. */
      weight: z.number().min(0).default(0.8),
      /** The epoch from which the discriminator takes part. */
      startEpoch: count.default(1),
      learningRate: z.number().positive().max(1).optional(),
    })
    .prefault({}),
  /** Steps after which codes that no latent chose are moved to latents of the batch; 0 = never. */
  reviveSteps: count.default(100),
});

/** `clip-gen train gpt`: images alone, through the frozen VQGAN and CLIP. */
export const gptTrainingSchema = z.strictObject({
  /** Sizes; token count, vocabulary and condition follow the VQGAN and CLIP when a preset is named. */
  model: z.union([z.enum(Object.keys(GPT_PRESETS) as [keyof typeof GPT_PRESETS]), gptConfigSchema]).default('gpt-mini'),
  ...common,
  /** Share of pictures trained without their condition (a zero vector), so that guidance works. */
  conditionDropout: fraction.default(0.1),
  /** Length of the random vector added to each unit condition, which is then scaled back to unit length; 0 = none. */
  conditionNoise: z.number().min(0).max(10).default(0),
  /** Weight λ of the CLIP-embedding reconstruction loss (arXiv 2203.00386, section 3.3); 0 as in the released code. */
  embeddingLoss: z.number().min(0).default(0),
});

export type CommonTraining = Omit<z.infer<typeof gptTrainingSchema>, 'model'>;
export type ClipTraining = z.infer<typeof clipTrainingSchema>;
export type VqganTraining = z.infer<typeof vqganTrainingSchema>;
export type GptTraining = z.infer<typeof gptTrainingSchema>;

/**
 * Checks settings against a schema and fills in the defaults.
 *
 * @throws invalid_argument that names the field, what it must be and, for an unknown one, its name
 */
export function parseTraining<S extends z.ZodType>(schema: S, settings: unknown): z.output<S> {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const path = issue.path.join('.') || 'the settings';
  throw new ClipGenError('invalid_argument', `training settings: ${path}: ${issue.message}`);
}
