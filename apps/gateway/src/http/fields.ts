import { z } from 'zod';
import { nearestName } from '@clip-gen/config';
import { InvalidField, invalidField } from '../invalid-field.ts';

// Each schema carries its bound as a phrase that follows "must be"; it is the message of all its issues.

/** @param bound such as `a description in words` */
export function textField(bound: string, maxLength: number, description: string) {
  return z
    .string({ error: bound })
    .max(maxLength, { error: `at most ${maxLength} characters long` })
    .meta({ description });
}

export function integerField(least: number, most: number, description: string) {
  const error = `an integer in [${least}, ${most}]`;
  return z.int({ error }).min(least, { error }).max(most, { error }).meta({ description });
}

export function numberField(least: number, most: number, description: string) {
  const error = `in [${least}, ${most}]`;
  return z.number({ error }).min(least, { error }).max(most, { error }).meta({ description });
}

export function choiceField<const T extends string>(values: readonly T[], description: string) {
  return z.enum(values, { error: `one of ${values.join(', ')}` }).meta({ description });
}

export function flagField(description: string) {
  return z.boolean({ error: 'true or false' }).meta({ description });
}

/**
 * A body that fits its schema. A field that is `null` counts as absent, as clients of OpenAI's send it.
 *
 * @throws InvalidField naming the first field that is wrong or not known
 */
export function parseBody<T extends z.ZodObject>(schema: T, body: unknown): z.infer<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw invalidField(
      'body',
      'a JSON object',
      body === null ? 'null' : Array.isArray(body) ? 'an array' : typeof body,
    );
  }
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
  const { data, error } = schema.safeParse(given);
  if (data !== undefined) return data;
  const issue = error?.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const field = shorten(issue.keys[0] ?? '');
    const nearest = nearestName(field, Object.keys(schema.shape));
    throw new InvalidField(field, `${field} is no field of this request${nearest ? `; did you mean ${nearest}?` : ''}`);
  }
  const [field, index] = (issue?.path ?? []).map(String);
  if (field === undefined) throw invalidField('body', 'a JSON object of known fields', 'something else');
  const whole: unknown = given[field];
  const got: unknown = index !== undefined && Array.isArray(whole) ? whole[Number(index)] : whole;
  const name = index === undefined ? field : `${field}[${index}]`;
  throw new InvalidField(field, invalidField(name, issue?.message ?? 'valid', show(got)).message);
}

/** What was given, short: numbers and words as they are, of the rest the kind. */
function show(got: unknown): unknown {
  if (got === undefined) return 'nothing';
  if (Array.isArray(got)) return `an array of ${got.length}`;
  return typeof got === 'object' ? 'an object' : got;
}

function shorten(name: string): string {
  return name.length > 64 ? `${name.slice(0, 61)}...` : name;
}
