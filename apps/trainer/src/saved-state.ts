import { ClipGenError } from '@clip-gen/errors';
import type { DType, Tensor } from '@clip-gen/tensor';
import { z } from 'zod';

/** Step counts by parameter group, as an optimiser's checkpoint notes hold them. */
export const stepCounts = z.record(z.string(), z.int().min(0));

/** What the notes of a stage with one optimiser hold. */
export const oneOptimizerNotes = z.strictObject({ steps: stepCounts });

/**
 * The notes of a checkpoint, which come from a file.
 *
 * @throws data_corrupt when they are not what the stage wrote
 */
export function parseNotes<S extends z.ZodType>(schema: S, notes: unknown): z.output<S> {
  const result = schema.safeParse(notes);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new ClipGenError('data_corrupt', `the checkpoint's ${['notes', ...path].join('.')} is damaged: ${message}`);
}

/**
 * The saved tensor that goes where `own` is.
 *
 * @throws failed_precondition when it is missing or has another dtype or shape
 */
export function savedTensor<D extends DType>(
  saved: ReadonlyMap<string, Tensor>,
  name: string,
  own: Tensor<D>,
): Tensor<D> {
  const tensor = saved.get(name);
  if (tensor?.dtype === own.dtype && tensor.shape.join() === own.shape.join()) return tensor as Tensor<D>;
  throw new ClipGenError(
    'failed_precondition',
    `the checkpoint's ${name} is ${tensor ? show(tensor) : 'missing'}; this model needs ${show(own)}: ` +
      'use the settings it was made with, or another --out',
  );
}

function show({ dtype, shape }: Tensor): string {
  return `${dtype} [${shape.join(', ')}]`;
}
