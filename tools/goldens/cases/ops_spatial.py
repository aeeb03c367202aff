"""Operators on images (B, C, H, W): convolution, channel norms, resizing, folding."""

from collections.abc import Iterator

import torch.nn.functional as F

from cases.op_case import OpCase
from randoms import Randoms


def conv_case(r: Randoms, name: str, x, weight, stride: int, pads: list[int], bias: bool) -> OpCase:
    """`pads` in ONNX's order: top, left, bottom, right."""
    top, left, bottom, right = pads

    def run(x, w, b=None):
        return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride)

    inputs = [r.normal(f'{name}.x', x), r.normal(f'{name}.w', weight)]
    if bias:
        inputs.append(r.normal(f'{name}.b', weight[:1]))
    attrs = {'kernel_shape': list(weight[2:]), 'strides': [stride, stride], 'pads': pads}
    return OpCase(name, 'Conv', inputs, run, attrs, tuple(range(len(inputs))))


def convolutions(r: Randoms) -> Iterator[OpCase]:
    yield conv_case(r, 'conv_3x3', (2, 3, 5, 4), (4, 3, 3, 3), 1, [1, 1, 1, 1], True)
    yield conv_case(r, 'conv_3x3_no_bias', (1, 2, 4, 4), (3, 2, 3, 3), 1, [1, 1, 1, 1], False)
    yield conv_case(r, 'conv_3x3_downsample', (2, 2, 6, 4), (3, 2, 3, 3), 2, [0, 0, 1, 1], True)
    yield conv_case(r, 'conv_4x4_stride2', (2, 2, 6, 4), (3, 2, 4, 4), 2, [1, 1, 1, 1], True)
    yield conv_case(r, 'conv_4x4_stride2_odd', (1, 2, 7, 5), (3, 2, 4, 4), 2, [1, 1, 1, 1], False)
    yield conv_case(r, 'conv_4x4_stride1', (1, 2, 5, 4), (3, 2, 4, 4), 1, [1, 1, 1, 1], True)
    yield conv_case(r, 'conv_3x3_lopsided', (1, 2, 5, 4), (3, 2, 3, 3), 1, [0, 1, 2, 0], True)
    yield conv_case(r, 'conv_3x3_wide_pads', (1, 2, 3, 3), (2, 2, 3, 3), 1, [3, 0, 0, 3], False)
    yield conv_case(r, 'conv_1x1', (2, 4, 3, 3), (5, 4, 1, 1), 1, [0, 0, 0, 0], True)
    yield conv_case(r, 'conv_patchify', (2, 3, 4, 6), (5, 3, 2, 2), 2, [0, 0, 0, 0], False)


def norms(r: Randoms) -> Iterator[OpCase]:
    def affine(name: str, x: tuple[int, ...]):
        scale, bias = r.normal(f'{name}.scale', x[1:2], 0.3, mean=1.0), r.normal(f'{name}.bias', x[1:2])
        return [r.normal(f'{name}.x', x, 2.0, mean=0.5), scale, bias]

    yield OpCase(
        'instance_norm',
        'InstanceNormalization',
        affine('instance_norm', (2, 3, 4, 5)),
        lambda x, s, b: F.instance_norm(x, weight=s, bias=b, eps=1e-5),
        {'epsilon': 1e-5},
        (0, 1, 2),
    )
    # The form that groups take: (B, groups, everything else), scale 1 and bias 0 as constants.
    plain = affine('instance_norm_groups', (2, 2, 12))
    yield OpCase(
        'instance_norm_groups',
        'InstanceNormalization',
        [plain[0], plain[1] * 0 + 1, plain[2] * 0],
        lambda x, s, b: F.instance_norm(x, weight=s, bias=b, eps=1e-5),
        {'epsilon': 1e-5},
    )
    yield OpCase(
        'group_norm',
        'GroupNormalization',
        affine('group_norm', (2, 4, 3, 2)),
        lambda x, s, b: F.group_norm(x, 2, s, b, eps=1e-5),
        {'epsilon': 1e-5, 'num_groups': 2},
        (0, 1, 2),
    )
    for name, training in (('batch_norm_training', 1), ('batch_norm_inference', 0)):
        inputs = affine(name, (3, 2, 4, 3))
        inputs += [r.normal(f'{name}.mean', (2,)), r.uniform(f'{name}.var', (2,), 0.5, 2)]

        def batch_norm(x, scale, bias, mean, var, train=training):
            return F.batch_norm(x, mean.clone(), var.clone(), scale, bias, bool(train), 0.1, 1e-5)

        attrs = {'epsilon': 1e-5, 'momentum': 0.9, 'training_mode': training}
        yield OpCase(name, 'BatchNormalization', inputs, batch_norm, attrs, (0, 1, 2))


def resizing(r: Randoms) -> Iterator[OpCase]:
    x = r.normal('upsample.x', (2, 2, 3, 4))
    attrs = {
        'mode': 'nearest',
        'scales': [1, 1, 2, 2],
        'coordinate_transformation_mode': 'asymmetric',
        'nearest_mode': 'floor',
    }
    yield OpCase('resize_nearest', 'Resize', [x], lambda x: F.interpolate(x, scale_factor=2, mode='nearest'), attrs)
    x = r.normal('bilinear.x', (1, 2, 8, 8))
    attrs = {'mode': 'linear', 'sizes': [1, 2, 7, 7], 'coordinate_transformation_mode': 'half_pixel'}
    yield OpCase('resize_bilinear', 'Resize', [x], lambda x: F.interpolate(x, size=(7, 7), mode='bilinear'), attrs)


def folding(r: Randoms) -> Iterator[OpCase]:
    x = r.normal('pixel_shuffle.x', (2, 8, 2, 3))
    attrs = {'blocksize': 2, 'mode': 'CRD'}
    yield OpCase('pixel_shuffle', 'DepthToSpace', [x], lambda x: F.pixel_shuffle(x, 2), attrs)
    x = r.normal('pixel_unshuffle.x', (2, 2, 4, 6))
    yield OpCase('pixel_unshuffle', 'PixelUnshuffle', [x], lambda x: F.pixel_unshuffle(x, 2), {'blocksize': 2})


def cases(r: Randoms) -> Iterator[OpCase]:
    for family in (convolutions, norms, resizing, folding):
        yield from family(r)
