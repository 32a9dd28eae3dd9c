"""Parts that exist once for 2D and once for 3D, chosen by the input's own number of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.presets import Strides


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


def convolution(dimension: int) -> Callable[..., nn.Module]:
    """Convolution of a dimension."""
    return nn.Conv2d if dimension == 2 else nn.Conv3d


def up_convolution(dimension: int, inputs: int, outputs: int, strides: Strides) -> nn.Module:
    """Transposed convolution that undoes a step of `strides`."""
    layer: Callable[..., nn.Module] = nn.ConvTranspose2d if dimension == 2 else nn.ConvTranspose3d
    return layer(inputs, outputs, kernel_size=strides, stride=strides)


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
    strides : tuple of int, optional
        Step of every axis.
    """

    def __init__(
        self, dimension: int, inputs: int, outputs: int, kernel: int, strides: Strides | None = None
    ) -> None:
        layer, norm = convolution(dimension), nn.InstanceNorm2d if dimension == 2 else nn.InstanceNorm3d
        super().__init__(
            layer(inputs, outputs, kernel, stride=strides or 1, padding=kernel // 2, bias=False),
            norm(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *grid) to (B, outputs, *grid / stride).

        A grey image may stand for one repeated to every input channel: it meets the sum of the kernels, which
        gives the same at a third of the work. A single position has no spread to normalise by: the norm then
        passes its bias on, as its limit does.
        """
        conv, norm, activation = self
        y: Tensor = conv(x) if x.shape[1] == conv.in_channels else _convolve_grey(conv, x)
        if math.prod(y.shape[2:]) > 1:
            out: Tensor = activation(norm(y))
            return out
        bias = norm.get_parameter("bias").view(1, -1, *(1,) * (y.ndim - 2))
        return F.leaky_relu(bias.expand_as(y), 0.01)


def _convolve_grey(conv: Any, x: Tensor) -> Tensor:
    if x.shape[1] != 1:
        raise ValueError(f"an image of {x.shape[1]} channels meets a network for {conv.in_channels}")
    convolve = F.conv2d if x.ndim == 4 else F.conv3d
    return convolve(x, conv.weight.sum(dim=1, keepdim=True), stride=conv.stride, padding=conv.padding)


def conv_blocks(
    dimension: int, inputs: int, outputs: int, kernel: int, strides: Strides, count: int
) -> nn.Sequential:
    """Several conv blocks, the first with a step."""
    first = ConvBlock(dimension, inputs, outputs, kernel, strides)
    return nn.Sequential(first, *(ConvBlock(dimension, outputs, outputs, kernel) for _ in range(count - 1)))


def enlarge(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate maps (B, C, *grid) linearly to another grid; maps that have it stay as they are."""
    if maps.shape[2:] == tuple(shape):
        return maps
    mode = "bilinear" if maps.ndim == 4 else "trilinear"
    return F.interpolate(maps, size=tuple(shape), mode=mode, align_corners=False)
