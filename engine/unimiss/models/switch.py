"""Parts that exist once for 2D and once for 3D, chosen by the input's own number of axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Switchable(nn.ModuleDict):
    """One module for each dimension that the network is built for.

    Parameters
    ----------
    dimensions : sequence of int
        2, 3 or both.
    make : callable
        Makes the module of one dimension.
    """

    def __init__(self, dimensions: Sequence[int], make: Callable[[int], nn.Module]) -> None:
        super().__init__({key(d): make(d) for d in dimensions})

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module for `x` of shape (B, C, height, width) or (B, C, depth, height, width)."""
        name = key(x.ndim - 2)
        if name not in self:
            raise ValueError(f"the network was built for {', '.join(self)}; the input has {x.ndim - 2} axes")
        out: Tensor = self[name](x)
        return out


def key(dimension: int) -> str:
    """Name of a dimension inside a network; parameters that hold ``.3d.`` serve volumes only."""
    return f"{dimension}d"


def enlarge(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate maps (B, C, *grid) linearly to another grid; maps that have it stay as they are."""
    if maps.shape[2:] == tuple(shape):
        return maps
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    return F.interpolate(maps, size=tuple(shape), mode=mode, align_corners=False)
