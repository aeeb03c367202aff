"""Goldens of libs/torch-checkpoint: small files by torch.save and torch.jit.save, and some that must be refused.

    python tools/goldens/torch_files.py

The expected values stand in the specs: everything is cut out of 0, 1, 2, ...
"""

import os
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / 'libs' / 'torch-checkpoint' / 'goldens'


def tensors() -> OrderedDict:
    t = torch.arange(24.0).reshape(2, 3, 4)
    return OrderedDict(
        whole=t,
        permuted=t.permute(2, 0, 1),
        sliced=t[:, 1:, ::2],
        expanded=t[0, 0].expand(5, 4),
        parameter=nn.Parameter(t[1]),
        half=t.half(),
        brain=t.bfloat16(),
        double=t.double(),
        long=torch.arange(5) - 2,
        int=torch.arange(3, dtype=torch.int32) - 1,
        byte=torch.arange(3, dtype=torch.uint8),
        char=torch.arange(3, dtype=torch.int8) - 1,
        truth=torch.tensor([True, False, True]),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 3),
        short=torch.arange(3, dtype=torch.int16),
        float8=torch.zeros(4, dtype=torch.float8_e4m3fn),
        wide_parameter=nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    )


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
        self.scale = nn.Parameter(torch.ones(2).half())
        self.register_buffer('count', torch.tensor(7))
        self.size = 9
        with torch.no_grad():
            self.layers[0].weight.copy_(torch.arange(6.0).reshape(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) * self.scale.float()


def lightning(folder: Path) -> None:
    """What a Lightning trainer writes: callbacks by their class, settings, an optimizer's state."""
    name = 'pytorch_lightning.callbacks.model_checkpoint'
    module = types.ModuleType(name)
    callback = type('ModelCheckpoint', (), {'__module__': name})
    module.ModelCheckpoint = callback
    for parent in ('pytorch_lightning', 'pytorch_lightning.callbacks'):
        sys.modules[parent] = types.ModuleType(parent)
    sys.modules[name] = module
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(
        {
            'epoch': 3,
            'global_step': 1234,
            'pytorch-lightning_version': '1.0.8',
            'callbacks': {callback: {'best_model_score': torch.tensor(0.5), 'best_model_path': Path('a/b.ckpt')}},
            'state_dict': {'w': torch.arange(4.0)},
            'optimizer_states': [optimizer.state_dict()],
            'hparams': callback(),
        },
        folder / 'lightning.ckpt',
    )


class Attack:
    def __reduce__(self):
        return os.system, ('touch attacked',)


def refused(folder: Path) -> None:
    torch.save({'state_dict': {'w': torch.ones(2)}, 'extra': Attack()}, folder / 'attack.pt')
    compressed = zipfile.ZipFile(folder / 'compressed.pt', 'w', zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(folder / 'tensors.pt') as source, compressed:
        for info in source.infolist():
            compressed.writestr(zipfile.ZipInfo('archive/' + info.filename.split('/', 1)[1]), source.read(info), 8)
    (folder / 'pickle.pt').write_bytes(pickle.dumps({'w': 1}, protocol=2))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter('ignore')
    torch.save({'epoch': 3, 'model': tensors(), 'note': b'bytes'}, FOLDER / 'tensors.pt')
    torch.save(tensors(), FOLDER / 'legacy.pt', _use_new_zipfile_serialization=False)
    torch.jit.script(Small()).save(str(FOLDER / 'scripted.pt'))
    lightning(FOLDER)
    refused(FOLDER)


if __name__ == '__main__':
    main()
