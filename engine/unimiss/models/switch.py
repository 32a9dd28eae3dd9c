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
        out: Tensor = self[key(x.ndim - 2)](x)
        return out


def key(dimension: int) -> str:
    """Name of a dimension inside a network; parameters that hold ``.3d.`` serve volumes only."""
    return f"{dimension}d"


def convolution(dimension: int) -> Callable[..., nn.Module]:
    """Convolution of a dimension."""
    return nn.Conv2d if dimension == 2 else nn.Conv3d


def up_convolution(dimension: int, inputs: int, outputs: int) -> nn.Module:
    """Transposed convolution that doubles every axis."""
    layer = nn.ConvTranspose2d if dimension == 2 else nn.ConvTranspose3d
    return layer(inputs, outputs, kernel_size=2, stride=2)


class ConvBlock(nn.Sequential):
    """Convolution without bias, instance norm, LeakyReLU.

    Parameters
    ----------
    dimension : int
        2 or 3.
    inputs, outputs : int
        Channels.
    kernel : int
        Odd edge length; padded to keep the size at stride 1.
    stride : int or tuple of int
        Step of every axis.
    """

    def __init__(
        self, dimension: int, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, ...] = 1
    ) -> None:
        layer, norm = convolution(dimension), nn.InstanceNorm2d if dimension == 2 else nn.InstanceNorm3d
        super().__init__(
            layer(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            norm(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *grid) to (B, outputs, *grid / stride).

        A single position has no spread to normalise by: the norm then passes its bias on, as its limit does.
        """
        conv, norm, activation = self
        y: Tensor = conv(x)
        if y[0, 0].numel() > 1:
            out: Tensor = activation(norm(y))
            return out
        bias = norm.get_parameter("bias").view(1, -1, *(1,) * (y.ndim - 2))
        return F.leaky_relu(bias.expand_as(y), 0.01)
