import { ClipGenError } from '@clip-gen/errors';
import type { ParameterSpec } from '@clip-gen/nn';
import type { ForeignModel } from './foreign-model.ts';
import { elementCount, type DType } from '@clip-gen/tensor';
import { bytesOf, shapeAfter, storedType, type Rule, type WeightType } from './rule.ts';
import type { WeightSource } from './weight-source.ts';

/** One tensor of the folder that will be written. */
export interface PlannedWeight extends Rule {
  readonly shape: readonly number[];
  readonly type: WeightType;
}

/** What an import will write, decided before a tensor is read. */
export interface ImportPlan {
  readonly weights: readonly PlannedWeight[];
  /** Kept as they are, whatever their type. */
  readonly extras: readonly Rule[];
  /** Names of the file that are known and not used. */
  readonly ignored: readonly string[];
  /** Names of the file that are not known. */
  readonly unknown: readonly string[];
  readonly bytes: number;
}

/** How a file becomes a plan. */
export interface PlanOptions {
  /** How weights are stored; `keep`: float16 as float16, all else as float32. */
  readonly dtype: WeightType | 'keep';
  /** Names that nothing is known of are reported and left out, in place of an error. */
  readonly allowUnknown: boolean;
}

/** Element types of tensors that are kept as they are. */
const STORABLE: ReadonlySet<string> = new Set<DType>([
  'float32',
  'float16',
  'bfloat16',
  'float64',
  'int8',
  'uint8',
  'int32',
  'int64',
  'bool',
]);
/** Names in one message. */
const SHOWN = 4;
/** float16 widened to float32 doubles; more than that is a file that repeats itself. */
const MAX_GROWTH = 4;
const GROWTH_FLOOR_BYTES = 64 << 20;

/**
 * Holds a file against what the model's functions ask for.
 *
 * @throws failed_precondition naming the missing, mismatched and unknown; resource_exhausted for a file whose tensors
 * are many times its size
 */
export function planImport(
  source: WeightSource,
  model: ForeignModel<unknown>,
  expected: readonly ParameterSpec[],
  options: PlanOptions,
): ImportPlan {
  const rules = new Map(model.rules.map((rule) => [rule.name, rule]));
  const missing = new Set<string>();
  const mismatched: string[] = [];
  const used = new Set<string>();
  const weights = new Map<string, PlannedWeight>();
  for (const { name, shape } of expected) {
    if (weights.has(name)) continue;
    const rule = rules.get(name) ?? { name, from: [name], transform: 'copy' as const };
    const stored = rule.from.map((from) => source.weights.get(from));
    for (const from of rule.from) {
      used.add(from);
      if (!source.weights.has(from)) missing.add(from);
    }
    const found = stored.filter((weight) => weight !== undefined);
    if (found.length < stored.length) continue;
    const shapes = found.map((weight) => weight.shape);
    const types = found.map((weight) => weight.type);
    const type = storedType(types, options.dtype);
    if (type && shapeAfter(rule.transform, shapes)?.join() === shape.join()) {
      weights.set(name, { ...rule, shape, type });
    } else {
      const got = found.map((weight) => `${weight.type} [${weight.shape.join(', ')}]`).join(', ');
      mismatched.push(`${rule.from.join(' + ')} must make float [${shape.join(', ')}]; got ${got}`);
    }
  }
  const extras = (model.extras ?? []).filter(({ from }) => isStorable(source.weights.get(from[0]!)?.type));
  for (const { from } of extras) used.add(from[0]!);
  const rest = [...source.weights.keys()].filter((name) => !used.has(name));
  const ignored = rest.filter((name) => model.ignored?.test(name));
  const unknown = rest.filter((name) => !model.ignored?.test(name));
  const problems = [
    missing.size > 0 ? `lacks ${listed([...missing])}` : '',
    mismatched.length > 0 ? listed(mismatched, '; ') : '',
    unknown.length > 0 && !options.allowUnknown
      ? `has unknown ${listed(unknown)} (--allow-unknown leaves them out)`
      : '',
  ].filter((problem) => problem !== '');
  if (problems.length > 0) {
    throw new ClipGenError('failed_precondition', `${source.path}, read as ${model.layout}: ${problems.join('; ')}`);
  }
  const planned = [...weights.values()];
  const extraBytes = extras
    .map(({ from }) => source.weights.get(from[0]!)!)
    .map(({ shape }) => 8 * elementCount(shape));
  const bytes = planned
    .map(({ type, shape }) => bytesOf(type, shape))
    .concat(extraBytes)
    .reduce((sum, size) => sum + size, 0);
  if (bytes > MAX_GROWTH * source.fileBytes + GROWTH_FLOOR_BYTES) {
    const problem = `its weights take ${bytes} bytes, many times the file's ${source.fileBytes}; it repeats itself`;
    throw new ClipGenError('resource_exhausted', `${source.path}: ${problem}`);
  }
  return { weights: planned, extras, ignored, unknown, bytes };
}

function isStorable(type: string | undefined): boolean {
  return type !== undefined && STORABLE.has(type);
}

function listed(names: readonly string[], separator = ', '): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : '';
  return names.slice(0, SHOWN).join(separator) + more;
}
