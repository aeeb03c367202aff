"""Goldens of libs/safetensors.

    pip install safetensors torch numpy
    python tools/goldens/safetensors_files.py

Writes into libs/safetensors/goldens:
- python.safetensors, as the safetensors package writes it;
- clip-gen.safetensors, the same tensors in the layout that libs/safetensors promises (data from a multiple of 64 bytes
  on, by falling element size, then name), built here from the specification and read back by the safetensors package.
  The library's test holds its writer to these bytes.
"""

import json
import struct
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parents[2] / "libs" / "safetensors" / "goldens"

TENSORS = {
    "f32": torch.tensor([[0.0, -1.5, 3.25], [1e-45, 3e38, float("inf")]], dtype=torch.float32),
    "f16": torch.tensor([1.0, -2.0, 65504.0, 6e-8], dtype=torch.float16),
    "bf16": torch.tensor([1.0, -3.140625], dtype=torch.bfloat16),
    "f64": torch.tensor(0.1, dtype=torch.float64),
    "i8": torch.tensor([-128, 0, 127], dtype=torch.int8),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "i32": torch.tensor([[-(2**31)], [2**31 - 1]], dtype=torch.int32),
    "i64": torch.tensor([2**53 + 1, -(2**63)], dtype=torch.int64),
    "bool": torch.tensor([True, False, True]),
    "empty": torch.zeros((0, 3), dtype=torch.float32),
    "näme \"quoted\" \n": torch.tensor([7], dtype=torch.int32),
}
METADATA = {"format": "pt", "note": "ü"}


NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}


def aligned_file() -> bytes:
    """TENSORS and METADATA in the layout of libs/safetensors."""
    header: dict[str, object] = {"__metadata__": METADATA}
    data = b""
    for name in sorted(TENSORS, key=lambda name: (-TENSORS[name].element_size(), name)):
        tensor = TENSORS[name]
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + data


def main() -> None:
    save_file(TENSORS, FOLDER / "python.safetensors", metadata=METADATA)

    path = FOLDER / "clip-gen.safetensors"
    path.write_bytes(aligned_file())
    loaded = load_file(path)
    assert loaded.keys() == TENSORS.keys(), loaded.keys()
    for name, expected in TENSORS.items():
        got = loaded[name]
        assert got.dtype == expected.dtype and got.shape == expected.shape, name
        assert torch.equal(got, expected), name
    with safe_open(path, "pt") as file:
        assert file.metadata() == METADATA, file.metadata()
    print(f"the safetensors package reads the {len(loaded)} tensors and the metadata of {path.name}")


if __name__ == "__main__":
    main()
