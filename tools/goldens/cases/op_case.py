"""What one operator case is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class OpCase:
    name: str
    op: str
    inputs: Sequence[Tensor]
    run: Callable[..., Tensor | Sequence[Tensor]]
    attrs: dict[str, object] = field(default_factory=dict)
    differentiable: Sequence[int] = (0,)
