"""Seeded values. Every tensor has its own stream, keyed by (seed, name): adding a tensor changes no other.

All values are float32 numbers held as float64, so that a float32 reader starts from exactly the same point.
"""

from math import prod, sqrt
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn


class Randoms:
    def __init__(self, seed: int):
        self.seed = seed

    def _stream(self, name: str) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, crc32(name.encode())]))

    def normal(self, name: str, shape, std: float = 1.0, mean: float = 0.0) -> Tensor:
        values = mean + std * self._stream(name).standard_normal(tuple(shape))
        return torch.from_numpy(np.asarray(values, dtype=np.float32).astype(np.float64))

    def uniform(self, name: str, shape, low: float, high: float) -> Tensor:
        values = self._stream(name).uniform(low, high, tuple(shape))
        return torch.from_numpy(np.asarray(values, dtype=np.float32).astype(np.float64))

    def integers(self, name: str, shape, high: int) -> Tensor:
        return torch.from_numpy(self._stream(name).integers(0, high, tuple(shape), dtype=np.int64))

    def away_from_zero(self, name: str, shape, gap: float = 0.1) -> Tensor:
        """Normal values moved `gap` away from 0, for functions with a kink there."""
        values = self.normal(name, shape)
        return (values + torch.where(values < 0, -gap, gap)).float().double()

    def fill(self, model: nn.Module, std: dict[str, float]) -> None:
        """Give every floating-point entry of the state dict a value; `std` overrides by name.

        Nothing is left at 0 or 1, so that a forgotten bias or scale shows.
        """
        model.double()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if not value.is_floating_point():
                    continue
                if name.endswith('running_var'):
                    new = self.uniform(name, value.shape, 0.5, 1.5)
                elif value.ndim == 1 and name.endswith('.weight'):  # the scale of a norm
                    new = self.normal(name, value.shape, 0.2, mean=1.0)
                elif name in std or value.ndim > 1:
                    new = self.normal(name, value.shape, std.get(name, 1 / sqrt(prod(value.shape[1:]))))
                elif value.ndim == 1:
                    new = self.normal(name, value.shape, 0.1)
                else:  # a scalar keeps its own initial value, rounded
                    new = value.float().double()
                value.copy_(new)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {f'weights.{name}': value.clone() for name, value in model.state_dict().items()}


def gradients(loss: Tensor, named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Gradient of `loss` by each named tensor, zeros where the loss does not depend on it; the graph is kept."""
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, materialize_grads=True)
    return {f'{prefix}.{name}': value for name, value in zip(named, found, strict=True)}
