"""Golden files: safetensors written byte for byte the same on every run.

Layout: 8 bytes little-endian header length, JSON header with sorted keys padded by spaces to a multiple of 8, data.
Floating-point values are rounded from float64 to float32; integers stay int64, masks stay bool.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

LIMIT_BYTES = 300 * 1024
DTYPES = {'float32': 'F32', 'int64': 'I64', 'bool': 'BOOL'}


def to_stored(value: torch.Tensor) -> np.ndarray:
    array = value.detach().numpy()
    return array.astype('<f4') if array.dtype.kind == 'f' else array


def camel(name: str) -> str:
    first, *rest = name.split('_')
    return first + ''.join(part.capitalize() for part in rest)


def config_json(config) -> str:
    """A config dataclass as JSON, keys in camelCase, without what is None."""
    given = {camel(key): value for key, value in asdict(config).items() if value is not None}
    return json.dumps(given, sort_keys=True)


def write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write `tensors` and read them back with the safetensors package; fail over the size limit or on NaN."""
    stored = {name: to_stored(value) for name, value in tensors.items()}
    # 8-byte elements first, so that every tensor begins at a multiple of its element size
    order = sorted(stored, key=lambda name: (-stored[name].itemsize, name))
    header: dict[str, object] = {'__metadata__': {'precision': 'computed in float64, stored as float32', **metadata}}
    chunks, offset = [], 0
    for name in order:
        array = stored[name]
        if not np.isfinite(array).all():
            raise ValueError(f'{path.name}: {name} has a value that is not finite')
        data = array.tobytes()
        header[name] = {
            'dtype': DTYPES[array.dtype.name],
            'shape': list(array.shape),
            'data_offsets': [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, sort_keys=True, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    content = len(text).to_bytes(8, 'little') + text + b''.join(chunks)
    if len(content) > LIMIT_BYTES:
        raise ValueError(f'{path.name}: {len(content)} bytes, the limit is {LIMIT_BYTES}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with safe_open(path, framework='np') as file:
        for name, array in stored.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    print(f'{path.name}: {len(stored)} tensors, {len(content) / 1024:.0f} KiB')
