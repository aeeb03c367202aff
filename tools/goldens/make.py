"""Write all golden files: `python tools/goldens/make.py`. See README.md."""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from cases import clip, gpt, losses, ops, state_dicts, vqgan  # noqa: E402


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    libs = HERE.parents[1] / 'libs'
    for family in (ops, clip, vqgan, gpt, losses, state_dicts):
        family.make(libs)


if __name__ == '__main__':
    main()
