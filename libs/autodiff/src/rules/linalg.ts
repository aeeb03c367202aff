import {
  floatAttribute,
  fusedMatMul,
  gemm,
  intAttribute,
  mul,
  reshape,
  staticShape,
  type Node,
  type Value,
} from '@clip-gen/graph';
import { unbroadcast } from '../broadcast.ts';
import type { GradientRule } from '../rule.ts';

/** y = alpha·op(a)·op(b) with leading dimensions that may broadcast. */
function productRule(node: Node, dy: Value, needs: readonly boolean[]): readonly (Value | null)[] {
  const [a, b] = [node.inputs[0]!, node.inputs[1]!];
  const transA = intAttribute(node.attributes, 'transA', 0) === 1;
  const transB = intAttribute(node.attributes, 'transB', 0) === 1;
  const alpha = floatAttribute(node.attributes, 'alpha', 1);
  // da = dy·bᵀ, or its transpose b·dyᵀ when a was transposed
  const da = (): Value =>
    transA
      ? fusedMatMul(b, dy, { transA: transB, transB: true, alpha })
      : fusedMatMul(dy, b, { transB: !transB, alpha });
  // db = aᵀ·dy, or its transpose dyᵀ·a
  const db = (): Value =>
    transB
      ? fusedMatMul(dy, a, { transA: true, transB: transA, alpha })
      : fusedMatMul(a, dy, { transA: !transA, alpha });
  return [needs[0] ? unbroadcast(da(), a) : null, needs[1] ? unbroadcast(db(), b) : null];
}

/** Gradients of matrix products, by operator. */
export const linalgRules = {
  // (…, M, K)·(K, N): the weight's gradient is one large product over all rows
  MatMul: (node, [dy], needs) => {
    const [a, b] = [node.inputs[0]!, node.inputs[1]!];
    if (b.shape.length !== 2 || a.shape.length <= 2) return productRule(node, dy!, needs);
    const inner = a.shape.at(-1)!;
    const rows = staticShape(a.shape.slice(0, -1), 'MatMul').reduce((p, n) => p * n, 1);
    const flat = reshape(dy!, [rows, b.shape[1]!]);
    return [
      needs[0] ? reshape(gemm(flat, b, null, { transB: true }), a.shape) : null,
      needs[1] ? gemm(reshape(a, [rows, inner]), flat, null, { transA: true }) : null,
    ];
  },
  FusedMatMul: (node, [dy], needs) => productRule(node, dy!, needs),
  // y = alpha·op(a)·op(b) + beta·c
  Gemm: (node, [dy], needs) => {
    const [a, b, c] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]];
    const transA = intAttribute(node.attributes, 'transA', 0) === 1;
    const transB = intAttribute(node.attributes, 'transB', 0) === 1;
    const alpha = floatAttribute(node.attributes, 'alpha', 1);
    const beta = floatAttribute(node.attributes, 'beta', 1);
    const da = (): Value =>
      transA
        ? gemm(b, dy!, null, { transA: transB, transB: true, alpha })
        : gemm(dy!, b, null, { transB: !transB, alpha });
    const db = (): Value =>
      transB
        ? gemm(dy!, a, null, { transA: true, transB: transA, alpha })
        : gemm(a, dy!, null, { transA: !transA, alpha });
    const dc = (): Value => unbroadcast(beta === 1 ? dy! : mul(dy!, beta), c!);
    return [needs[0] ? da() : null, needs[1] ? db() : null, c && needs[2] ? dc() : null];
  },
} satisfies Record<string, GradientRule>;
