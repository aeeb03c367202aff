"""libs/autodiff/goldens/ops: value and gradients of one operator a case, against a random cotangent.

`op` and `attrs` use ONNX's names; attributes that newer opsets take as inputs (axes, shape, starts, pads, …) are
attributes here too. Operators that ONNX lacks (Silu, QuickGelu, PixelUnshuffle, …) have a plain name.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from cases import ops_elementwise, ops_linalg, ops_shape, ops_spatial
from cases.op_case import OpCase
from golden_file import write
from randoms import Randoms

LIMIT_ELEMENTS = 200


def record(case: OpCase, randoms: Randoms) -> tuple[dict[str, Tensor], str]:
    leaves = list(case.inputs)
    for i in case.differentiable:
        leaves[i] = leaves[i].clone().requires_grad_()
    result = case.run(*leaves)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    names = [''] if isinstance(result, Tensor) else [f'.{i}' for i in range(len(outputs))]
    cotangents = [randoms.normal(f'{case.name}.cotangent{n}', out.shape) for n, out in zip(names, outputs, strict=True)]
    wanted = [leaves[i] for i in case.differentiable]
    found = torch.autograd.grad(outputs, wanted, cotangents)

    tensors = {f'{case.name}.in.{i}': value for i, value in enumerate(case.inputs)}
    tensors |= {f'{case.name}.out{n}': value for n, value in zip(names, outputs, strict=True)}
    tensors |= {f'{case.name}.cotangent{n}': value for n, value in zip(names, cotangents, strict=True)}
    tensors |= {f'{case.name}.grad.{i}': value for i, value in zip(case.differentiable, found, strict=True)}
    for name, value in tensors.items():
        if value.numel() > LIMIT_ELEMENTS:
            raise ValueError(f'{name}: {value.numel()} elements, the limit is {LIMIT_ELEMENTS}')
    about = {
        'op': case.op,
        'attrs': case.attrs,
        'inputs': len(case.inputs),
        'outputs': len(outputs),
        'differentiable': list(case.differentiable),
    }
    return tensors, json.dumps(about, sort_keys=True)


def make(libs: Path) -> None:
    randoms = Randoms(401)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for module in (ops_elementwise, ops_linalg, ops_shape, ops_spatial):
        for case in module.cases(randoms):
            if case.name in metadata:
                raise ValueError(f'two cases are named {case.name}')
            made, metadata[case.name] = record(case, randoms)
            tensors |= made
    print(f'{len(metadata)} operator cases')
    write(libs / 'autodiff/goldens/ops.safetensors', tensors, metadata)
