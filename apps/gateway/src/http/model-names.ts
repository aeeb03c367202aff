import type { Core } from '../core.ts';
import { HttpError } from './openai-error.ts';

/** Ids of models: the server's own, and one for each decoder. */
export function modelIds({ settings, peers }: Core): readonly string[] {
  return [settings.modelName, ...peers.decoderNames.map((decoder) => `${settings.modelName}:${decoder}`)];
}

/** The decoder that a model's id chooses; undefined for the default. @throws HttpError 404 for an id that is not there */
export function decoderOfModel(model: string | undefined, core: Core): string | undefined {
  if (model === undefined || model === core.settings.modelName) return undefined;
  if (modelIds(core).includes(model)) return model.slice(core.settings.modelName.length + 1);
  throw modelNotFound(model, core);
}

export function modelNotFound(model: string, core: Core): HttpError {
  const shown = model.length > 80 ? `${model.slice(0, 77)}...` : model;
  const message = `model must be one of ${modelIds(core).join(', ')}; got ${JSON.stringify(shown)}`;
  return new HttpError(404, message, { code: 'model_not_found', param: 'model' });
}
