"""libs/<model>/goldens/state-dict.json: names and shapes of the published sizes, without weights.

Buffers (causal masks, running statistics, batch counters) stand apart: they are state, not parameters.
"""

import json
from pathlib import Path

import torch
from torch import nn

from models.clip import Clip, ClipConfig
from models.gpt import Gpt, GptConfig
from models.vqgan import Vqgan, VqganConfig


def write(model: nn.Module, path: Path) -> None:
    parameters = {name: list(value.shape) for name, value in model.named_parameters()}
    buffers = {name: list(value.shape) for name, value in model.named_buffers()}
    lines = [
        f'  {json.dumps(kind)}: {{\n'
        + ',\n'.join(f'    {json.dumps(name)}: {json.dumps(shape)}' for name, shape in shapes.items())
        + '\n  }'
        for kind, shapes in (('parameters', parameters), ('buffers', buffers))
        if shapes
    ]
    path.write_text('{\n' + ',\n'.join(lines) + '\n}\n')
    print(f'{path.parent.parent.name}/{path.name}: {len(parameters)} parameters, {len(buffers)} buffers')


def make(libs: Path) -> None:
    with torch.device('meta'):
        write(Clip(ClipConfig()), libs / 'clip/goldens/state-dict.json')
        write(Vqgan(VqganConfig()), libs / 'vqgan/goldens/state-dict.json')
        write(Gpt(GptConfig()), libs / 'gpt/goldens/state-dict.json')
