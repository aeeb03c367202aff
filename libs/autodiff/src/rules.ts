import type { OpType } from '@clip-gen/graph';
import type { Rule } from './rule.ts';
import { activationRules } from './rules/activation.ts';
import { convolutionRules } from './rules/convolution.ts';
import { elementwiseRules } from './rules/elementwise.ts';
import { indexingRules } from './rules/indexing.ts';
import { linalgRules } from './rules/linalg.ts';
import { normalizationRules } from './rules/normalization.ts';
import { objectiveRules } from './rules/objective.ts';
import { reduceRules } from './rules/reduce.ts';
import { shapeRules } from './rules/shape.ts';

/** One entry an operator: an operator without one does not compile. */
export const RULES: { readonly [Op in OpType]: Rule } = {
  ...activationRules,
  ...convolutionRules,
  ...elementwiseRules,
  ...indexingRules,
  ...linalgRules,
  ...normalizationRules,
  ...objectiveRules,
  ...reduceRules,
  ...shapeRules,
  ArgMax: 'none',
  ArgMin: 'none',
  Equal: 'none',
  Greater: 'none',
  Less: 'none',
  Shape: 'none',
  Sign: 'none',
  StopGradient: 'none',
  ConvTranspose: 'inference',
  Cos: 'inference',
  ScatterElements: 'inference',
  SpaceToDepth: 'inference',
  BiasGelu: 'inference',
  GroupQueryAttention: 'inference',
  MatMulNBits: 'inference',
  NchwcConv: 'inference',
  ReorderInput: 'inference',
  ReorderOutput: 'inference',
  Resize: 'inference',
  TurnedKernel: 'inference',
};
