import { ClipGenError } from '@clip-gen/errors';
import type { z } from 'zod';
import type { Rule } from './rule.ts';
import type { StoredWeight } from './weight-source.ts';

/** What a layout's reader makes of a file: our configuration, and where each of our parameters comes from. */
export interface ForeignModel<C> {
  /** What the file seems to be: `OpenAI CLIP`. */
  readonly layout: string;
  readonly config: C;
  /** One for each parameter that the configuration asks for. */
  readonly rules: readonly Rule[];
  /** Tensors that are kept under our names, such as a discriminator's, where the file has them. */
  readonly extras?: readonly Rule[];
  /** Names that are known and have no use here. */
  readonly ignored?: RegExp;
  /** What could not be told from the file and was taken for granted, a sentence each. */
  readonly notes?: readonly string[];
}

/** The shapes of a file's tensors, with questions that the layouts' readers ask. */
export class Shapes {
  constructor(
    readonly path: string,
    readonly weights: ReadonlyMap<string, StoredWeight>,
  ) {}

  has(name: string): boolean {
    return this.weights.has(name);
  }

  /**
   * The sizes of a tensor from which the model's sizes are taken.
   *
   * @throws failed_precondition when it is missing or has another number of dimensions
   */
  of(name: string, rank: number): number[] {
    const shape = this.weights.get(name)?.shape;
    if (shape?.length === rank) return [...shape];
    const got = shape ? `[${shape.join(', ')}]` : 'nothing';
    throw new ClipGenError('failed_precondition', `${this.path}: ${name} must have ${rank} dimensions; got ${got}`);
  }

  /** How many `prefix0`, `prefix1`, … there are one after the other, `suffix` behind each. */
  count(prefix: string, suffix: string): number {
    let count = 0;
    while (this.has(`${prefix}${count}${suffix}`)) count++;
    return count;
  }
}

/**
 * A configuration that the model's own schema accepts.
 *
 * @throws failed_precondition when sizes out of a file make none
 */
export function checkedConfig<S extends z.ZodType>(schema: S, path: string, config: unknown): z.output<S> {
  const parsed = schema.safeParse(config, { reportInput: true });
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, 3).map(({ path: at, message, input }) => {
    const got = typeof input === 'number' || typeof input === 'string' ? `; got ${input}` : '';
    return `${at.join('.')}: ${message}${got}`;
  });
  throw new ClipGenError('failed_precondition', `${path}: its sizes are not those of a model: ${issues.join('; ')}`, {
    cause: parsed.error,
  });
}

/** The error of a file that is something else. */
export function notThis(path: string, what: string, hint: string): ClipGenError {
  return new ClipGenError('failed_precondition', `${path} is no ${what}: ${hint}`);
}
