"""The preview decoder: tokens to pictures by narrow convolutions with ReLU, no statistics over the picture.

Letters: B batch, g side of the token grid, p pixels a place of the last level has a side.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu


@dataclass(frozen=True)
class PreviewConfig:
    grid_size: int = 8
    codebook_size: int = 2048
    code_size: int = 32
    channels: tuple[int, ...] = (64, 48)
    blocks: tuple[int, ...] = (1, 0)
    patch_size: int = 4


def spread(x: Tensor, factor: int) -> Tensor:
    """(B, f·f·C, H, W) -> (B, C, f·H, f·W); channels are row, column, C, where pixel_shuffle has C first."""
    batch, channels, height, width = x.shape
    inner = channels // factor**2
    places = x.view(batch, factor, factor, inner, height, width)
    return places.permute(0, 3, 4, 1, 5, 2).reshape(batch, inner, height * factor, width * factor)


class Level(nn.Module):
    def __init__(self, before: int, width: int, blocks: int, first: bool):
        super().__init__()
        if not first:
            self.up = nn.Conv2d(before, 4 * width, 1)
        self.conv_in = nn.Conv2d(before if first else width, width, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, 'up'):
            x = spread(self.up(x), 2)
        x = relu(self.conv_in(x))
        for block in self.blocks:
            x = relu(block(x) + x)
        return x


class Preview(nn.Module):
    def __init__(self, c: PreviewConfig):
        super().__init__()
        self.config = c
        self.codebook = nn.Embedding(c.codebook_size, c.code_size)
        widths = (c.code_size, *c.channels)
        self.levels = nn.Sequential(
            *(Level(widths[i], widths[i + 1], c.blocks[i], i == 0) for i in range(len(c.channels)))
        )
        self.conv_out = nn.Conv2d(widths[-1], 3 * c.patch_size**2, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, g·g) -> pixels about [-1, 1] (B, 3, S, S), not clamped."""
        side = self.config.grid_size
        codes = self.codebook(tokens).transpose(1, 2).unflatten(2, (side, side))
        return spread(self.conv_out(self.levels(codes)), self.config.patch_size)
