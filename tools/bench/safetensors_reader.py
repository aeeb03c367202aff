"""Reads float32 and int64 tensors of a .safetensors file without the safetensors package: the peers need PyTorch alone."""

import json
import mmap
import struct

import torch

DTYPES = {"F32": torch.float32, "I64": torch.int64}


def read(path):
    """{name: tensor} that share one private mapping of the file."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    (length,) = struct.unpack("<Q", mapped[:8])
    header = json.loads(mapped[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = DTYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(mapped, dtype=dtype, count=(end - begin) // dtype.itemsize, offset=8 + length + begin)
        tensors[name] = flat.view(entry["shape"])
    return tensors
