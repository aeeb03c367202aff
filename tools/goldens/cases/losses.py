"""libs/losses/goldens: LPIPS with few channels, its distance and its gradients at both pictures."""

import json
from pathlib import Path

import torch

from golden_file import write
from models.lpips import Lpips
from randoms import Randoms, gradients, weights

CHANNELS = (4, 8, 8, 8, 8)
SEED = 403
BATCH, SIDE = 2, 32


def make(libs: Path) -> None:
    randoms = Randoms(SEED)
    model = Lpips(CHANNELS).eval()
    randoms.fill(model, {})
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith('lin'):  # the published ones are not negative
                value.copy_(value.abs())
            elif name.endswith('.bias'):  # no position may have all features 0: PyTorch's root has no gradient there
                value.copy_(value.abs() + 0.3)
    tensors = weights(model)
    a, b = (randoms.uniform(name, (BATCH, 3, SIDE, SIDE), -1, 1).requires_grad_() for name in ('a', 'b'))
    distance = model(a, b).mean()
    smallest = min(x.square().sum(dim=1).sqrt().min() for x in (*model._features(a), *model._features(b)))
    if smallest < 1e-2:
        raise ValueError(f'a position has features of length {smallest:.1e} only; take another seed')
    tensors |= {'input.a': a, 'input.b': b, 'loss.lpips': distance}
    tensors |= gradients(distance, {'a': a, 'b': b}, 'input_grad')
    write(libs / 'losses/goldens/lpips-narrow.safetensors', tensors, {'config': json.dumps({'channels': CHANNELS})})
