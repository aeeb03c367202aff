import { exp, mul, neg, reshape, scatterElementsAdd, type Value } from '@clip-gen/graph';
import { staticShape } from '@clip-gen/graph';
import type { GradientRule } from '../rule.ts';

/** Gradients of losses that are one operator; labels have none. */
export const objectiveRules = {
  // d(−log softmax(x)[label]) = softmax(x) − onehot(label), times the row's cotangent
  CrossEntropy: (node, [dy]) => {
    const [logits, labels] = [node.inputs[0]!, node.inputs[1]!];
    const logProbabilities = node.outputs[1] as Value;
    const rows = staticShape(logits.shape, 'CrossEntropy')[0]!;
    const column = reshape(dy!, [rows, 1]);
    const scaled = mul(exp(logProbabilities), column);
    return [scatterElementsAdd(scaled, reshape(labels, [rows, 1]), neg(column)), null];
  },
} satisfies Record<string, GradientRule>;
