"""Products, reductions, softmax, norms over vectors, losses on logits."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from cases.op_case import OpCase
from randoms import Randoms


def matmul(r: Randoms) -> Iterator[OpCase]:
    for name, a, b in (
        ('matmul_2d', (3, 4), (4, 5)),
        ('matmul_batched', (2, 3, 4), (2, 4, 5)),
        ('matmul_shared_right', (2, 3, 4), (4, 5)),
        ('matmul_shared_left', (3, 4), (2, 4, 5)),
        ('matmul_broadcast', (2, 1, 3, 4), (3, 4, 2)),
        ('matmul_heads', (2, 2, 3, 4), (2, 2, 4, 3)),
    ):
        inputs = [r.normal(f'{name}.a', a), r.normal(f'{name}.b', b)]
        yield OpCase(name, 'MatMul', inputs, torch.matmul, differentiable=(0, 1))


def gemm_case(r: Randoms, name: str, bias: tuple[int, ...] | None, **attrs) -> OpCase:
    trans_a, trans_b = attrs.get('transA', 0), attrs.get('transB', 0)
    alpha, beta = attrs.get('alpha', 1.0), attrs.get('beta', 1.0)

    def run(a, b, c=None):
        product = alpha * (a.T if trans_a else a) @ (b.T if trans_b else b)
        return product if c is None else product + beta * c

    inputs = [
        r.normal(f'{name}.a', (4, 3) if trans_a else (3, 4)),
        r.normal(f'{name}.b', (5, 4) if trans_b else (4, 5)),
    ]
    if bias is not None:
        inputs.append(r.normal(f'{name}.c', bias))
    return OpCase(name, 'Gemm', inputs, run, attrs, tuple(range(len(inputs))))


def gemm(r: Randoms) -> Iterator[OpCase]:
    yield gemm_case(r, 'gemm_plain', None)
    yield gemm_case(r, 'gemm_linear', (5,), transB=1)
    yield gemm_case(r, 'gemm_trans_a', (3, 5), transA=1)
    yield gemm_case(r, 'gemm_trans_both', (3, 1), transA=1, transB=1, alpha=0.5, beta=2.0)
    yield gemm_case(r, 'gemm_scaled', (1, 5), alpha=0.25, beta=0.5)
    yield gemm_case(r, 'gemm_scalar_bias', (), transA=1, alpha=-1.5, beta=3.0)


def fused_matmul(r: Randoms) -> Iterator[OpCase]:
    """Products whose operands are transposed in their last two dimensions first."""
    for name, a, b, attrs in (
        ('fused_matmul_trans_a', (2, 4, 3), (2, 4, 5), {'transA': 1}),
        ('fused_matmul_trans_b', (2, 2, 3, 4), (2, 2, 5, 4), {'transB': 1, 'alpha': 0.5}),
        ('fused_matmul_trans_both', (4, 3), (5, 4), {'transA': 1, 'transB': 1, 'alpha': -2.0}),
        ('fused_matmul_shared_left', (3, 4), (2, 5, 4), {'transB': 1}),
        ('fused_matmul_shared_right', (2, 4, 3), (4, 5), {'transA': 1}),
    ):

        def run(a, b, attrs=attrs):
            a = a.transpose(-1, -2) if attrs.get('transA') else a
            b = b.transpose(-1, -2) if attrs.get('transB') else b
            return attrs.get('alpha', 1.0) * (a @ b)

        inputs = [r.normal(f'{name}.a', a), r.normal(f'{name}.b', b)]
        yield OpCase(name, 'FusedMatMul', inputs, run, attrs, differentiable=(0, 1))


def reduction(r: Randoms) -> Iterator[OpCase]:
    shape = (2, 3, 4)
    for op, run in {'ReduceSum': torch.sum, 'ReduceMean': torch.mean}.items():
        for label, axes in {'last': [-1], 'middle': [1], 'outer': [0, 2], 'all': [0, 1, 2]}.items():
            for keep in (0, 1):
                name = f'{op.lower().replace("reduce", "reduce_")}_{label}_keep{keep}'
                attrs = {'axes': axes, 'keepdims': keep}
                x = r.normal(f'{name}.x', shape)
                yield OpCase(name, op, [x], lambda x, f=run, a=axes, k=keep: f(x, dim=a, keepdim=bool(k)), attrs)


def softmax(r: Randoms) -> Iterator[OpCase]:
    for op, run in {'Softmax': torch.softmax, 'LogSoftmax': torch.log_softmax}.items():
        for label, axis in {'last': -1, 'middle': 1}.items():
            name = f'{op.lower().replace("logsoftmax", "log_softmax")}_{label}'
            x = r.normal(f'{name}.x', (2, 3, 4), 2.0)
            yield OpCase(name, op, [x], lambda x, f=run, a=axis: f(x, dim=a), {'axis': axis})


def norms(r: Randoms) -> Iterator[OpCase]:
    for name, axis, shape in (('layer_norm', -1, (5,)), ('layer_norm_two_axes', 1, (3, 5))):
        inputs = [
            r.normal(f'{name}.x', (2, 3, 5), 2.0, mean=0.5),
            r.normal(f'{name}.scale', shape, 0.3, mean=1.0),
            r.normal(f'{name}.bias', shape),
        ]

        def layer_norm(x, scale, bias, over=shape):
            return F.layer_norm(x, over, scale, bias, eps=1e-5)

        attrs = {'axis': axis, 'epsilon': 1e-5}
        yield OpCase(name, 'LayerNormalization', inputs, layer_norm, attrs, (0, 1, 2))
    for label, axis in {'last': -1, 'middle': 1}.items():
        name = f'l2_normalize_{label}'
        x = r.normal(f'{name}.x', (2, 3, 4))
        attrs = {'axis': axis, 'p': 2}
        yield OpCase(name, 'LpNormalization', [x], lambda x, a=axis: x / x.norm(dim=a, keepdim=True), attrs)


def cross_entropy(r: Randoms) -> Iterator[OpCase]:
    for reduction_name in ('mean', 'none'):
        name = f'cross_entropy_{reduction_name}'
        inputs = [r.normal(f'{name}.logits', (5, 7), 2.0), r.integers(f'{name}.labels', (5,), 7)]

        def run(logits, labels, how=reduction_name):
            return F.cross_entropy(logits, labels, reduction=how)

        yield OpCase(name, 'SoftmaxCrossEntropyLoss', inputs, run, {'reduction': reduction_name})


def cases(r: Randoms) -> Iterator[OpCase]:
    for family in (matmul, gemm, fused_matmul, reduction, softmax, norms, cross_entropy):
        yield from family(r)
