"""Unary functions, arithmetic with broadcasting, choices."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from cases.op_case import OpCase
from models.clip import quick_gelu
from randoms import Randoms

SHAPE = (3, 5)


def unary(r: Randoms) -> Iterator[OpCase]:
    anywhere = {
        'Neg': torch.neg,
        'Exp': torch.exp,
        'Tanh': torch.tanh,
        'Sigmoid': torch.sigmoid,
        'Erf': torch.erf,
        'Softplus': F.softplus,
        'Gelu': F.gelu,
        'QuickGelu': quick_gelu,
        'Silu': F.silu,
    }
    positive = {'Log': torch.log, 'Sqrt': torch.sqrt}
    kinked = {'Relu': torch.relu, 'Abs': torch.abs}
    attrs = {'Gelu': {'approximate': 'none'}, 'QuickGelu': {'alpha': 1.702}}
    for op, run in anywhere.items():
        name = op.lower()
        yield OpCase(name, op, [r.normal(f'{name}.x', SHAPE, 1.5)], run, attrs.get(op, {}))
    for op, run in positive.items():
        name = op.lower()
        yield OpCase(name, op, [r.uniform(f'{name}.x', SHAPE, 0.2, 3)], run)
    for op, run in kinked.items():
        name = op.lower()
        yield OpCase(name, op, [r.away_from_zero(f'{name}.x', SHAPE)], run)
    leaky = r.away_from_zero('leaky_relu.x', SHAPE)
    yield OpCase('leaky_relu', 'LeakyRelu', [leaky], lambda x: F.leaky_relu(x, 0.2), {'alpha': 0.2})
    clip = r.normal('clip.x', SHAPE, 1.5)
    yield OpCase('clip', 'Clip', [clip], lambda x: x.clamp(-1, 0.75), {'min': -1, 'max': 0.75})
    yield OpCase('clip_min_only', 'Clip', [clip], lambda x: x.clamp(min=-1), {'min': -1})


def binary(r: Randoms) -> Iterator[OpCase]:
    shapes = {
        'same': ((2, 3, 4), (2, 3, 4)),
        'row': ((2, 3, 4), (4,)),
        'column': ((3, 1), (2, 3, 4)),
        'both': ((2, 1, 4), (3, 1)),
        'scalar': ((3, 4), ()),
    }
    for op, run in {'Add': torch.add, 'Sub': torch.sub, 'Mul': torch.mul, 'Div': torch.div}.items():
        for kind, (a, b) in shapes.items():
            name = f'{op.lower()}_{kind}'
            inputs = [r.normal(f'{name}.a', a), r.away_from_zero(f'{name}.b', b, 0.5)]
            yield OpCase(name, op, inputs, run, differentiable=(0, 1))
    for op, run in {'Max': torch.maximum, 'Min': torch.minimum}.items():
        name = f'{op.lower()}_both'
        inputs = [r.normal(f'{name}.a', (2, 1, 4)), r.normal(f'{name}.b', (3, 1))]
        yield OpCase(name, op, inputs, run, differentiable=(0, 1))


def power(r: Randoms) -> Iterator[OpCase]:
    signed, exponent = r.away_from_zero('pow_cube.x', SHAPE, 0.2), torch.tensor(3.0).double()
    yield OpCase('pow_cube', 'Pow', [signed, exponent], torch.pow)
    square = torch.tensor(2.0).double()
    yield OpCase('pow_square', 'Pow', [r.normal('pow_square.x', SHAPE), square], torch.pow)
    inputs = [r.uniform('pow_general.x', (3, 4), 0.3, 2.5), r.normal('pow_general.y', (4,))]
    yield OpCase('pow_general', 'Pow', inputs, torch.pow, differentiable=(0, 1))


def choice(r: Randoms) -> Iterator[OpCase]:
    for name, cond, a, b in (
        ('where_same', (3, 4), (3, 4), (3, 4)),
        ('where_broadcast', (2, 3, 1), (4,), (3, 1)),
        ('where_scalar', (3, 4), (3, 4), ()),
    ):
        mask = r.normal(f'{name}.cond', cond) > 0
        inputs = [mask, r.normal(f'{name}.a', a), r.normal(f'{name}.b', b)]
        yield OpCase(name, 'Where', inputs, torch.where, differentiable=(1, 2))


def passing(r: Randoms) -> Iterator[OpCase]:
    """Operators that hand values on and change only their type or their gradient."""
    yield OpCase('identity', 'Identity', [r.normal('identity.x', SHAPE)], lambda x: x * 1)
    yield OpCase('cast', 'Cast', [r.normal('cast.x', SHAPE)], lambda x: x * 1, {'to': 'float64'})
    inputs = [r.normal('straight_through.soft', SHAPE), r.normal('straight_through.hard', SHAPE)]
    yield OpCase('straight_through', 'StraightThrough', inputs, lambda soft, hard: soft + (hard - soft).detach())


def cases(r: Randoms) -> Iterator[OpCase]:
    yield from unary(r)
    yield from binary(r)
    yield from power(r)
    yield from choice(r)
    yield from passing(r)
