"""Operators that only move, pick or repeat elements."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from cases.op_case import OpCase
from randoms import Randoms


def picking(r: Randoms) -> Iterator[OpCase]:
    repeated = torch.tensor([[1, 3, 1], [0, 1, 3]])  # row 2 is never read, row 1 three times
    table = r.normal('gather_embedding.table', (5, 4))
    yield OpCase('gather_embedding', 'Gather', [table, repeated], lambda t, i: t[i], {'axis': 0})
    columns = torch.tensor([2, 0, 2])
    x = r.normal('gather_axis1.x', (2, 4, 3))
    yield OpCase('gather_axis1', 'Gather', [x, columns], lambda x, i: x[:, i], {'axis': 1})
    x = r.normal('gather_scalar.x', (2, 4, 3))
    yield OpCase('gather_scalar', 'Gather', [x, torch.tensor(0)], lambda x, i: x[:, i], {'axis': 1})
    for name, axis, index in (
        ('gather_elements_last', -1, [[2, 0, 2], [1, 1, 1]]),
        ('gather_elements_first', 0, [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]),
    ):
        x = r.normal(f'{name}.x', (2, 4))
        inputs = [x, torch.tensor(index)]
        yield OpCase(name, 'GatherElements', inputs, lambda x, i, a=axis: x.gather(a, i), {'axis': axis})

    x = r.normal('slice.x', (4, 6))
    for name, run, attrs in (
        ('slice_one_axis', lambda x: x[:, 1:4], {'starts': [1], 'ends': [4], 'axes': [1], 'steps': [1]}),
        ('slice_negative', lambda x: x[-3:-1], {'starts': [-3], 'ends': [-1], 'axes': [0], 'steps': [1]}),
        ('slice_two_axes', lambda x: x[1:, :5], {'starts': [1, 0], 'ends': [4, 5], 'axes': [0, 1], 'steps': [1, 1]}),
        ('slice_step', lambda x: x[:, 1::2], {'starts': [1], 'ends': [6], 'axes': [1], 'steps': [2]}),
    ):
        yield OpCase(name, 'Slice', [x], run, attrs)
    yield OpCase('split_even', 'Split', [x], lambda x: x.split([3, 3], 1), {'axis': 1, 'split': [3, 3]})
    yield OpCase('split_uneven', 'Split', [x], lambda x: x.split([1, 2, 3], 1), {'axis': 1, 'split': [1, 2, 3]})


def moving(r: Randoms) -> Iterator[OpCase]:
    for name, axis, shapes in (('concat_first', 0, [(2, 3), (1, 3), (3, 3)]), ('concat_last', -1, [(2, 3), (2, 1)])):
        inputs = [r.normal(f'{name}.{i}', shape) for i, shape in enumerate(shapes)]

        def concat(*parts, along=axis):
            return torch.cat(parts, dim=along)

        yield OpCase(name, 'Concat', inputs, concat, {'axis': axis}, tuple(range(len(inputs))))
    x = r.normal('transpose.x', (2, 3, 4))
    for name, perm in (('transpose_swap', [0, 2, 1]), ('transpose_rotate', [1, 2, 0])):
        yield OpCase(name, 'Transpose', [x], lambda x, p=perm: x.permute(p), {'perm': perm})
    x = r.normal('reshape.x', (2, 6))
    yield OpCase('reshape', 'Reshape', [x], lambda x: x.reshape(3, 4), {'shape': [3, 4]})
    yield OpCase('reshape_inferred', 'Reshape', [x], lambda x: x.reshape(2, 3, -1), {'shape': [0, 3, -1]})


def repeating(r: Randoms) -> Iterator[OpCase]:
    for name, inputs, shape in (('expand_ones', (3, 1), [2, 3, 4]), ('expand_scalar', (), [2, 3])):
        x = r.normal(f'{name}.x', inputs)
        yield OpCase(name, 'Expand', [x], lambda x, s=shape: x.expand(s), {'shape': shape})
    x = r.normal('pad.x', (1, 2, 3, 4))
    attrs = {'mode': 'constant', 'value': 0, 'pads': [0, 0, 0, 0, 0, 0, 1, 1]}
    yield OpCase('pad_right_bottom', 'Pad', [x], lambda x: F.pad(x, (0, 1, 0, 1)), attrs)
    attrs = {'mode': 'constant', 'value': 0.5, 'pads': [0, 0, 2, 1, 0, 0, 0, 3]}
    yield OpCase('pad_value', 'Pad', [x], lambda x: F.pad(x, (1, 3, 2, 0), value=0.5), attrs)


def cases(r: Randoms) -> Iterator[OpCase]:
    yield from picking(r)
    yield from moving(r)
    yield from repeating(r)
