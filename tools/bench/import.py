"""The peer of import.ts: makes the checkpoint, and turns it into safetensors as one would in PyTorch.

    python import.py make FILE LAYERS | convert FILE OUT | convert-mapped FILE OUT
"""

import json
import resource
import sys
import time

import torch
from safetensors.torch import save_file

WIDTH, TOKENS, CODES, CONDITION = 1024, 256, 16384, 512


def make(path: str, layers: int) -> None:
    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(shape) * 0.02

    state = {
        'pos_emb': weight(1, TOKENS, WIDTH),
        'tok_emb.weight': weight(CODES, WIDTH),
        'cond_proj.weight': weight(WIDTH, CONDITION),
        'cond_proj.bias': weight(WIDTH),
    }
    for i in range(layers):
        block = f'blocks.{i}.'
        state[f'{block}mask'] = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
        shapes = {
            'self_attn.in_proj_weight': (3 * WIDTH, WIDTH),
            'self_attn.in_proj_bias': (3 * WIDTH,),
            'self_attn.out_proj.weight': (WIDTH, WIDTH),
            'self_attn.out_proj.bias': (WIDTH,),
            'linear1.weight': (4 * WIDTH, WIDTH),
            'linear1.bias': (4 * WIDTH,),
            'linear2.weight': (WIDTH, 4 * WIDTH),
            'linear2.bias': (WIDTH,),
        }
        for name in ('norm1', 'norm2'):
            shapes[f'{name}.weight'] = shapes[f'{name}.bias'] = (WIDTH,)
        for name, shape in shapes.items():
            state[f'{block}encoder.{name}'] = weight(*shape)
    state |= {'norm.weight': weight(WIDTH), 'norm.bias': weight(WIDTH)}
    state |= {'head.weight': weight(CODES, WIDTH), 'head.bias': weight(CODES)}
    torch.save({'model': state, 'epoch': 1}, path)


def convert(path: str, out: str, mapped: bool) -> None:
    import os

    start = time.perf_counter()
    state = torch.load(path, weights_only=True, mmap=mapped)['model']
    os.makedirs(out)
    target = os.path.join(out, 'model.safetensors')
    save_file({name: value for name, value in state.items() if not name.endswith('.mask')}, target)
    with open(target, 'rb+') as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    print(json.dumps({'seconds': seconds, 'peakBytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == '__main__':
    command, path, rest = sys.argv[1:4]
    if command == 'make':
        make(path, int(rest))
    else:
        convert(path, rest, command == 'convert-mapped')
