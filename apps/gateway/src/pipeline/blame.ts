import { ClipGenError } from '@clip-gen/errors';
import { InvalidField } from '../invalid-field.ts';

/** An error of a service behind the gateway, said for the gateway's client. Its own words go to the log, as `cause`. */
export class ServiceError extends ClipGenError {}

/**
 * Waits for a service's answer and turns its errors into what a client can act on: which service is away, what is wrong
 * with its request, when to come back. Addresses and inner workings stay inside.
 *
 * @param service its name, such as `sampler`
 * @param clientsField how the client calls a field of the call (`texts[3]`) whose values are its own; the gateway has
 * checked all but a text's tokens, which only the text encoder can count. Without it a refusal is the gateway's fault.
 */
export async function blame<T>(
  service: string,
  answer: Promise<T>,
  clientsField?: (field: string) => string,
): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    throw blamed(service, cause, clientsField);
  }
}

function blamed(service: string, cause: unknown, clientsField: ((field: string) => string) | undefined): unknown {
  if (!(cause instanceof ClipGenError) || cause instanceof ServiceError || cause instanceof InvalidField) return cause;
  switch (cause.code) {
    case 'invalid_argument': {
      const [field] = /^\S+(?= must )/.exec(cause.message) ?? [];
      if (clientsField === undefined || field === undefined) break;
      const named = clientsField(field);
      return new InvalidField(named.replace(/\[\d+\]$/, ''), named + cause.message.slice(field.length));
    }
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
