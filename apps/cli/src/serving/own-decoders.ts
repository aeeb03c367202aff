import { hasPreview, type ModelDecoder } from '@clip-gen/generation';
import { OWN_DECODER } from './serve-settings.ts';

/** A decoder of the model that is served. */
export interface OwnDecoder {
  readonly name: ModelDecoder;
  readonly manifest: '';
  readonly address?: undefined;
}

/**
 * The decoders that a model brings: the VQGAN's own, which is the default, and that of `preview/` where there is one.
 *
 * @param others names of further decoders: one of them that is called `preview` is served instead
 */
export async function ownDecoders(model: string, others: readonly { readonly name: string }[]): Promise<OwnDecoder[]> {
  const own: OwnDecoder[] = [{ name: OWN_DECODER, manifest: '' }];
  if (others.some(({ name }) => name === 'preview')) return own;
  return (await hasPreview(model)) ? [...own, { name: 'preview', manifest: '' }] : own;
}
