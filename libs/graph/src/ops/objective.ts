import { ClipGenError } from '@clip-gen/errors';
import { showShape } from '../dim.ts';
import type { Value } from '../value.ts';
import { first, requireDType, requireRank } from './check.ts';
import { neg } from './elementwise.ts';
import { gatherElements } from './indexing.ts';
import { logSoftmax } from './normalization.ts';
import { reshape } from './shape.ts';

/**
 * Cross-entropy of each row: logits (N, V), labels int64 (N) → (N), in nats. Second result: log-probabilities (N, V).
 */
export function crossEntropy(logits: Value, labels: Value): Value {
  requireRank('CrossEntropy', logits, 2);
  requireRank('CrossEntropy', labels, 1);
  requireDType('CrossEntropy', labels, 'int64');
  if (labels.shape[0] !== logits.shape[0]) {
    throw new ClipGenError(
      'invalid_argument',
      `CrossEntropy: one label a row; got ${showShape(labels.shape)} for ${showShape(logits.shape)}`,
    );
  }
  const rows = logits.shape[0]!;
  return first(
    logits.graph.compose('CrossEntropy', [logits, labels], {}, () => {
      const logProbabilities = logSoftmax(logits, -1);
      const picked = gatherElements(logProbabilities, reshape(labels, [rows, 1]));
      return [neg(reshape(picked, [rows])), logProbabilities];
    }),
  );
}
