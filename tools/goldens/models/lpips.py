"""LPIPS over VGG16 (Zhang et al., arXiv 1801.03924): pixels in [-1, 1] -> a distance for each picture.

Parameter names are those of the published weights: `net.slice{1-5}.{index in torchvision's features}`,
`lin{0-4}.model.1`. The channels of the five slices are an option so that a golden stays small.
Letters: B batch, S side in pixels, C channels.
"""

import torch
from torch import Tensor, nn

VGG16_CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class Slices(nn.Module):
    """Convolutions up to the last ReLU before each pooling; the pooling opens the next slice."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        index, into = 0, 3
        for slice_index, (width, count) in enumerate(zip(channels, CONVOLUTIONS, strict=True)):
            layers = nn.Sequential()
            if slice_index > 0:
                layers.add_module(str(index), nn.MaxPool2d(2))
                index += 1
            for _ in range(count):
                layers.add_module(str(index), nn.Conv2d(into, width, 3, padding=1))
                layers.add_module(str(index + 1), nn.ReLU())
                index, into = index + 2, width
            self.add_module(f'slice{slice_index + 1}', layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for part in self.children():
            x = part(x)
            features.append(x)
        return features


class Linear(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        # Dropout is the first module of the published ones and does nothing outside their own training
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Lpips(nn.Module):
    def __init__(self, channels: tuple[int, ...] = VGG16_CHANNELS):
        super().__init__()
        self.net = Slices(channels)
        for index, width in enumerate(channels):
            self.add_module(f'lin{index}', Linear(width))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, 3, S, S) -> (B)"""
        distance = torch.zeros(len(a), dtype=a.dtype)
        for index, (x, y) in enumerate(zip(self._features(a), self._features(b), strict=True)):
            weighted = self.get_submodule(f'lin{index}')((unit_channels(x) - unit_channels(y)).square())
            distance = distance + weighted.mean(dim=(1, 2, 3))
        return distance

    def _features(self, pixels: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(v, dtype=pixels.dtype)[:, None, None] for v in (SHIFT, SCALE))
        return self.net((pixels - shift) / scale)


def unit_channels(x: Tensor) -> Tensor:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
