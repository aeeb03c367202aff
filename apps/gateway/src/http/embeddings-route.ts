import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Core } from '../core.ts';
import { MAX_PROMPT_CHARACTERS } from '../generation-request.ts';
import { invalidField } from '../invalid-field.ts';
import { choiceField, integerField, parseBody, textField } from './fields.ts';
import { hangUpSignal } from './hang-up-signal.ts';
import { decoderOfModel } from './model-names.ts';

const MAX_TEXTS = 64;

const text = textField('a text, or an array of texts', MAX_PROMPT_CHARACTERS, 'A description in words.');

/** The body of `POST /v1/embeddings`: OpenAI's fields. */
export const EmbeddingsRequest = z.strictObject({
  input: z
    .union([text, z.array(text).min(1).max(MAX_TEXTS)], { error: `a text, or an array of 1 to ${MAX_TEXTS} texts` })
    .meta({ description: 'Texts to embed; token numbers are not taken.' }),
  model: textField('a text', 200, 'An id of `/v1/models`. Absent: this server’s own.').optional(),
  encoding_format: choiceField(['float', 'base64'], 'Numbers, or little-endian float32. Absent: float.').optional(),
  dimensions: integerField(1, 8192, 'The model’s own width is the only one.').optional(),
  user: textField('a text', 256, 'Accepted for clients of other servers; has no effect here.').optional(),
});

export const EmbeddingsResponse = z.strictObject({
  object: z.literal('list'),
  data: z.array(
    z.strictObject({
      object: z.literal('embedding'),
      index: z.int(),
      embedding: z.union([z.array(z.number()), z.string()]).meta({ description: 'Of unit length, in CLIP’s space.' }),
    }),
  ),
  model: z.string(),
  usage: z.strictObject({ prompt_tokens: z.int(), total_tokens: z.int() }).meta({ description: 'Not counted: 0.' }),
});
export type EmbeddingsResponse = z.infer<typeof EmbeddingsResponse>;

/** `POST /v1/embeddings`: texts in the space in which pictures are judged. */
export function embeddingsRoute(app: FastifyInstance, core: Core): void {
  app.post('/v1/embeddings', async (http, reply): Promise<EmbeddingsResponse> => {
    const { input, model, encoding_format: format = 'float', dimensions } = parseBody(EmbeddingsRequest, http.body);
    decoderOfModel(model, core);
    const texts = typeof input === 'string' ? [input] : input;
    const embeddings = await core.embedder.embed(texts, hangUpSignal(reply), (field) =>
      typeof input === 'string' ? 'input' : field.replace(/^texts/, 'input'),
    );
    const width = embeddings[0]?.length ?? 0;
    if (dimensions !== undefined && dimensions !== width) {
      throw invalidField('dimensions', `${width}, the width of this model`, dimensions);
    }
    return {
      object: 'list',
      data: embeddings.map((values, index) => ({
        object: 'embedding',
        index,
        embedding: format === 'float' ? values : base64(values),
      })),
      model: model ?? core.settings.modelName,
      usage: { prompt_tokens: 0, total_tokens: 0 },
    };
  });
}

function base64(values: readonly number[]): string {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return bytes.toString('base64');
}
