"""Convolutions of the networks: a grey image may stand for all channels, and bf16 gives what it should."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.presets import Strides


class _Convolution(nn.Module):
    """What both dimensions add to torch's convolution."""

    in_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any  # torch allows a name too, which nobody here gives
    groups: int
    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, *grid) to (B, out_channels, *grid / stride).

        A grey image (B, 1, *grid) may stand for one repeated to every input channel: it meets the sum of the
        kernels, which gives the same at a third of the work.
        """
        weight = self.weight if x.shape[1] == self.in_channels else self._grey_weight(x)
        if not self._misread_in_bf16(x):
            return self._convolve(x, weight)
        return _exactly(partial(self._convolve, weight=weight), x)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        convolve, padding = F.conv2d if x.ndim == 4 else F.conv3d, self.padding
        if self._corrupts_memory(x):
            around, padding = padding[0], (0, *padding[1:])
            x = F.pad(x, (0, 0, 0, 0, around, around))
        return convolve(x, weight, self.bias, self.stride, padding, groups=self.groups)

    def _grey_weight(self, x: Tensor) -> Tensor:
        if x.shape[1] != 1:
            raise ValueError(f"an image of {x.shape[1]} channels meets a network for {self.in_channels}")
        return self.weight.sum(dim=1, keepdim=True)

    def _misread_in_bf16(self, x: Tensor) -> bool:
        """Whether oneDNN would read memory that is nobody's, for steps along an axis that ends as one column.

        With torch 2.13 on a CPU with AMX, maps as wide as that came out wrong for every stride above 1 and
        kernels of 2 to 7, forward, in the gradients of the weights, or in both: silently, or as NaN, by
        what lay in the memory before. Strides of 1 and wider maps were right in all of 1,200 shapes, and so
        was fp32, but for what `_corrupts_memory` says.
        """
        width = x.shape[-1] + 2 * self.padding[-1] - self.kernel_size[-1]
        one_column = self.stride[-1] > 1 and width < self.stride[-1]
        return one_column and _in_bf16_on_cpu(x)

    def _corrupts_memory(self, x: Tensor) -> bool:
        """Whether oneDNN's gradient of the weights would write where it must not.

        With torch 2.13 it did for kernels of 7 with steps of 2 over 5 to 7 slices: a crash, or NaN.
        Slices of zeros that are really there cost a copy of a thin volume, and were right in all of them.
        """
        return x.ndim == 5 and x.device.type == "cpu" and 3 < self.kernel_size[0] >= x.shape[2]


class _UpConvolution(nn.Module):
    """What both dimensions add to torch's transposed convolution: in bf16, the fault of `_Convolution`."""

    stride: tuple[int, ...]

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, inputs, *grid) to (B, outputs, *grid * stride); `output_size` is torch's.

        The gradient of a map of one column is a convolution that ends as one, and was wrong for 48 channels.
        """
        if x.shape[-1] > 1 or self.stride[-1] == 1 or not _in_bf16_on_cpu(x):
            out: Tensor = super().forward(x, output_size)
            return out
        return _exactly(partial(super().forward, output_size=output_size), x)


def _in_bf16_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _exactly(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer in fp32, and give what mixed precision would have given."""
    with torch.autocast(x.device.type, enabled=False):
        exact = layer(x.float())
    return exact.to(torch.get_autocast_dtype(x.device.type))


class _UpConvolution2d(_UpConvolution, nn.ConvTranspose2d): ...


class _UpConvolution3d(_UpConvolution, nn.ConvTranspose3d): ...


class _Convolution2d(_Convolution, nn.Conv2d): ...


class _Convolution3d(_Convolution, nn.Conv3d): ...


def convolution(dimension: int) -> Callable[..., nn.Module]:
    """Convolution of a dimension, 2 or 3."""
    return _Convolution2d if dimension == 2 else _Convolution3d


def up_convolution(dimension: int, inputs: int, outputs: int, strides: Strides) -> nn.Module:
    """Transposed convolution that undoes a step of `strides`."""
    layer: Callable[..., nn.Module] = _UpConvolution2d if dimension == 2 else _UpConvolution3d
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

        A single position has no spread to normalise by: the norm then passes its bias on, as its limit does.
        """
        conv, norm, activation = self
        y: Tensor = conv(x)
        if math.prod(y.shape[2:]) > 1:
            out: Tensor = activation(norm(y))
            return out
        bias = norm.get_parameter("bias").view(1, -1, *(1,) * (y.ndim - 2))
        return F.leaky_relu(bias.expand_as(y), 0.01)


def conv_blocks(
    dimension: int, inputs: int, outputs: int, kernel: int, strides: Strides, count: int
) -> nn.Sequential:
    """Several conv blocks, the first with a step."""
    first = ConvBlock(dimension, inputs, outputs, kernel, strides)
    return nn.Sequential(first, *(ConvBlock(dimension, outputs, outputs, kernel) for _ in range(count - 1)))
