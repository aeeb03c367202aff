import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Core } from '../core.ts';
import { modelIds, modelNotFound } from './model-names.ts';

export const Model = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  created: z.int().meta({ description: 'Unix time in seconds at which this server started.' }),
  owned_by: z.string(),
});
export type Model = z.infer<typeof Model>;

export const ModelList = z.strictObject({ object: z.literal('list'), data: z.array(Model) });

/** `GET /v1/models` and `GET /v1/models/{id}`. */
export function modelsRoute(app: FastifyInstance, core: Core): void {
  const created = Math.floor(Date.now() / 1000);
  const model = (id: string): Model => ({ id, object: 'model', created, owned_by: core.settings.modelName });
  app.get('/v1/models', (): z.infer<typeof ModelList> => ({ object: 'list', data: modelIds(core).map(model) }));
  app.get<{ Params: { id: string } }>('/v1/models/:id', ({ params: { id } }): Model => {
    if (!modelIds(core).includes(id)) throw modelNotFound(id, core);
    return model(id);
  });
}
