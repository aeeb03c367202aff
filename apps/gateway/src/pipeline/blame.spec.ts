import { ClipGenError, invalidArgument } from '@clip-gen/errors';
import { expect, it } from 'vitest';
import { InvalidField } from '../invalid-field.ts';
import { blame } from './blame.ts';

const refusal = (field: string) => Promise.reject(invalidArgument(field, 'at most 8 tokens long', 9));

it('names the field as the client calls it', async () => {
  const one = blame('embedding', refusal('texts[0]'), () => 'prompt');
  await expect(one).rejects.toBeInstanceOf(InvalidField);
  await expect(one).rejects.toMatchObject({
    field: 'prompt',
    message: 'prompt must be at most 8 tokens long; got 9',
  });
  const many = blame('embedding', refusal('texts[3]'), (field) => field.replace('texts', 'input'));
  await expect(many).rejects.toMatchObject({
    field: 'input',
    message: 'input[3] must be at most 8 tokens long; got 9',
  });
});

it('keeps from the client what it has not asked for', async () => {
  // A picture that is too large is a decoder's, not the client's.
  const picture = blame('embedding', refusal('images[0]'));
  await expect(picture).rejects.toMatchObject({ code: 'internal', message: 'the embedding service failed' });
  const damaged = blame('sampler', Promise.reject(new ClipGenError('data_corrupt', 'at 10.0.0.7')));
  await expect(damaged).rejects.toMatchObject({ code: 'internal', message: 'the sampler service failed' });
});

it('says who is away, and leaves what has been said', async () => {
  const away = blame('sampler', Promise.reject(new ClipGenError('unavailable', 'connect ECONNREFUSED 10.0.0.7')));
  const message = 'the sampler service is away; try again in a moment';
  await expect(away).rejects.toMatchObject({ code: 'unavailable', message });
  await expect(blame('decoder vqgan', away)).rejects.toMatchObject({ message });
  const busy = new ClipGenError('resource_exhausted', 'too much is waiting', { retryAfterMs: 70 });
  await expect(blame('sampler', Promise.reject(busy))).rejects.toBe(busy);
});
