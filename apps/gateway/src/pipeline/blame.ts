import { ClipGenError } from '@clip-gen/errors';
import { InvalidField } from '../invalid-field.ts';

/** An error of a service behind the gateway, said for the gateway's client. Its own words go to the log, as `cause`. */
class ServiceError extends ClipGenError {}

/**
 * Waits for a service's answer and turns its errors into what a client can act on: which service is away, what is wrong
 * with the prompt, when to come back. Addresses and inner workings stay inside.
 *
 * @param service its name, such as `sampler`
 */
export async function blame<T>(service: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    throw blamed(service, cause);
  }
}

function blamed(service: string, cause: unknown): unknown {
  if (!(cause instanceof ClipGenError) || cause instanceof ServiceError || cause instanceof InvalidField) return cause;
  switch (cause.code) {
    case 'invalid_argument':
      // The gateway has checked all but the prompt's tokens, which only the text encoder can count.
      if (service !== 'embedding') break;
      return new InvalidField('prompt', cause.message.replace(/^\S+(?= must )/, 'prompt'));
    case 'cancelled': // by the service: when the client had gone nobody would read this
    case 'unavailable':
      return new ServiceError('unavailable', `the ${service} service is away; try again in a moment`, { cause });
    case 'resource_exhausted':
    case 'deadline_exceeded':
      return cause;
    default:
  }
  return new ServiceError('internal', `the ${service} service failed`, { cause });
}
