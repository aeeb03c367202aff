import { z } from 'zod';
import { MAX_GUIDANCE, MAX_TEMPERATURE, MAX_VOCABULARY_SIZE } from '@clip-gen/sampling';
import { MAX_CANDIDATES, MAX_PARTIALS, MAX_PICTURES, MAX_PROMPT_CHARACTERS } from '../generation-request.ts';
import { choiceField, flagField, integerField, numberField, textField } from './fields.ts';

const WITHOUT_EFFECT = 'Accepted for clients of other servers; has no effect here.';

/** The body of `POST /v1/images/generations`: OpenAI's fields, then this server's own. */
export const ImagesRequest = z.strictObject({
  prompt: z
    .string({ error: 'a description in words' })
    .meta({ description: 'What the pictures show.', minLength: 1, maxLength: MAX_PROMPT_CHARACTERS }),
  model: textField('a text', 200, 'An id of `/v1/models`. Absent: this server’s own.').optional(),
  n: integerField(1, MAX_PICTURES, 'Pictures to keep, the best of the candidates. Absent: 1.').optional(),
  size: z
    .string({ error: 'auto or <width>x<height>' })
    .regex(/^(auto|\d{1,5}x\d{1,5})$/, { error: 'auto or <width>x<height>' })
    .meta({
      description:
        'Pictures are scaled to it. `auto`, or absent: as the decoder makes them. `256x256` gives what the command line saves.',
    })
    .optional(),
  response_format: z
    .literal('b64_json', { error: 'b64_json: pictures are not kept, so there is no url for them' })
    .meta({ description: 'Pictures come in the answer; `url` is refused.' })
    .optional(),
  output_format: choiceField(['png', 'jpeg', 'webp'], 'Absent: png.').optional(),
  output_compression: integerField(
    0,
    100,
    'Quality of JPEG and WebP in percent. Absent: 90. PNG is lossless: anything but 100 is refused with it.',
  ).optional(),
  stream: flagField('Server-sent events: partial pictures, then one `completed` event for each picture.').optional(),
  partial_images: integerField(
    0,
    MAX_PARTIALS,
    'With `stream`: pictures of the first candidate on the way. Absent: 0.',
  ).optional(),
  quality: textField('a text', 64, WITHOUT_EFFECT).optional(),
  style: textField('a text', 64, WITHOUT_EFFECT).optional(),
  background: textField('a text', 64, `${WITHOUT_EFFECT} Pictures are opaque.`).optional(),
  moderation: textField('a text', 64, WITHOUT_EFFECT).optional(),
  user: textField('a text', 256, WITHOUT_EFFECT).optional(),
  seed: integerField(
    0,
    Number.MAX_SAFE_INTEGER,
    'The same seed and options give the same bytes. Absent: drawn at random, and returned.',
  ).optional(),
  candidates: integerField(
    1,
    MAX_CANDIDATES,
    'Pictures to draw and judge, at least `n`. Absent: the model’s default, at least `n`.',
  ).optional(),
  temperature: numberField(
    0,
    MAX_TEMPERATURE,
    'Divides the logits; 0 takes the likeliest. Absent, as with the next three: the model’s default.',
  ).optional(),
  top_k: integerField(1, MAX_VOCABULARY_SIZE, 'Only the k likeliest codes may be drawn.').optional(),
  top_p: z
    .number({ error: 'in (0, 1]' })
    .gt(0, { error: 'in (0, 1]' })
    .lte(1, { error: 'in (0, 1]' })
    .meta({ description: 'Only the likeliest codes whose probabilities sum up to p may be drawn.' })
    .optional(),
  guidance_scale: numberField(
    0,
    MAX_GUIDANCE,
    'Classifier-free guidance: 1 is off, above the prompt weighs more; costs twice the time.',
  ).optional(),
  decoder: textField(
    'a text',
    64,
    'Name of a decoder, as `/v1/models` has them behind the colon; `preview`, where there is one, is quick and less exact. Absent: the first of this server’s.',
  ).optional(),
  partial_decoder: textField(
    'a text',
    64,
    'Name of the decoder that makes the partial pictures. Absent: `preview` where this server has it, unless `decoder` chooses another than the first; then, and without one, as `decoder`.',
  ).optional(),
  progress: flagField('With `stream`: `image_generation.progress` events besides OpenAI’s. Absent: false.').optional(),
});
export type ImagesRequest = z.infer<typeof ImagesRequest>;

const score = z.number().meta({ description: 'Cosine of the picture’s and the prompt’s CLIP embedding, in [−1, 1].' });
const candidate = z.int().meta({ description: 'Number among the candidates: with the seed it names the picture.' });

export const Usage = z.strictObject({
  input_tokens: z.int().meta({ description: 'Always 0: words are not counted.' }),
  input_tokens_details: z.strictObject({ image_tokens: z.int(), text_tokens: z.int() }),
  output_tokens: z.int().meta({ description: 'Tokens drawn, of all candidates.' }),
  total_tokens: z.int(),
});
export type Usage = z.infer<typeof Usage>;

/** The answer without `stream`. */
export const ImagesResponse = z.strictObject({
  created: z.int().meta({ description: 'Unix time in seconds.' }),
  data: z
    .array(z.strictObject({ b64_json: z.string(), seed: z.int(), candidate, clip_score: score }))
    .meta({ description: 'Best first.' }),
  background: z.literal('opaque'),
  output_format: z.enum(['png', 'jpeg', 'webp']),
  size: z.string(),
  usage: Usage,
});
export type ImagesResponse = z.infer<typeof ImagesResponse>;

const picture = {
  b64_json: z.string(),
  created_at: z.int(),
  size: z.string(),
  quality: z.literal('auto'),
  background: z.literal('opaque'),
  output_format: z.enum(['png', 'jpeg', 'webp']),
};

/** The `data` of an event of the stream; its `event` is the `type`. */
export const ImagesEvent = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('image_generation.progress'),
    tokens: z.int(),
    tokens_total: z.int(),
    images: z.int(),
    images_total: z.int(),
  }),
  z.strictObject({ type: z.literal('image_generation.partial_image'), partial_image_index: z.int(), ...picture }),
  z.strictObject({
    type: z.literal('image_generation.completed'),
    ...picture,
    index: z.int().meta({ description: 'Place by score, from 0.' }),
    seed: z.int(),
    candidate,
    clip_score: score,
    usage: Usage,
  }),
]);
export type ImagesEvent = z.infer<typeof ImagesEvent>;
