"""MiT's decoder: three stages back up to the grid of the encoder's first one, then the stem's levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from unimiss.models.attention import Block, drop_rates
from unimiss.models.convolution import ConvBlock, up_convolution
from unimiss.models.encoder import Encoded
from unimiss.models.presets import Preset, Shape
from unimiss.models.recompute import Recomputing
from unimiss.models.stage import Stage
from unimiss.models.switch import Switchable


@dataclass
class Decoded:
    """What the decoder gives.

    Attributes
    ----------
    stages : list of Tensor, each (B, dim, *grid)
        Outputs of its stages, coarse to fine; the last one after the final norm.
    cls : Tensor or None, shape (B, 1, dim of the last stage)
        The class token after the final norm.
    """

    stages: list[Tensor]
    cls: Tensor | None


class Decoder(Recomputing):
    """Up-sampling, skip connections and Transformer stages 1 to 3, coarse to fine.

    Parameters
    ----------
    preset : Preset
        Widths and depths.
    native : mapping of int to tuple of int
        Input size of each dimension that is built.
    class_token : bool
        Whether a class token comes from the encoder and goes on here.
    drop_path : float
        Stochastic depth of the last block, growing linearly from 0.
    """

    def __init__(
        self, preset: Preset, native: Mapping[int, Shape], *, class_token: bool, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        dimensions = sorted(native)
        dims, reductions = preset.dims[::-1], preset.reductions[-2::-1]
        grids = {d: preset.grids(native[d])[-2::-1] for d in dimensions}
        rates = iter(drop_rates(drop_path, sum(preset.decoder_depths)))
        self.upsamplings = nn.ModuleList()
        self.stages = nn.ModuleList()
        for i, dim in enumerate(dims[1:]):
            blocks = [
                Block(
                    dim,
                    preset.decoder_heads[i],
                    reductions[i],
                    dimensions,
                    bias=False,
                    depthwise=preset.depthwise,
                    mlp_ratio=preset.mlp_ratio,
                    eps=1e-5,
                    drop_path=next(rates),
                )
                for _ in range(preset.decoder_depths[i])
            ]
            self.upsamplings.append(_upsampling(preset, i, dimensions))
            native_grids = {d: grids[d][i] for d in dimensions}
            last = i == len(dims) - 2
            self.stages.append(Stage(blocks, native_grids, dim, class_token=class_token, norm=last))
        if class_token:
            self.cls_projections = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))
        self.class_token = class_token

    def forward(self, encoded: Encoded) -> Decoded:
        """Decode what the encoder gave; odd grids are cut to the encoder's."""
        *skips, maps = encoded.stages
        cls, stages = encoded.cls if self.class_token else None, []
        for i, (up, stage) in enumerate(zip(self.upsamplings, self.stages, strict=True)):
            skip = skips.pop()
            maps = _cut(self.run(up, maps), skip) + skip
            cls = None if cls is None else self.cls_projections[i](cls)
            maps, cls = self.run(stage, maps, cls)
            stages.append(maps)
        return Decoded(stages, cls)


class StemDecoder(Recomputing):
    """From the decoder's finest grid up through the stem's levels, to half or full resolution.

    Parameters
    ----------
    preset : Preset
        Widths; a level at full resolution ends without a conv block, as published.
    dimensions : sequence of int
        2, 3 or both.
    """

    def __init__(self, preset: Preset, dimensions: Sequence[int]) -> None:
        super().__init__()
        self.upsamplings = nn.ModuleList()
        self.fusions = nn.ModuleList()
        inputs = preset.dims[0]
        undone = {d: preset.strides(d, 0) for d in dimensions}
        for level in reversed(preset.stem):
            self.upsamplings.append(_switchable_up(dimensions, inputs, level.channels, undone))
            self.fusions.append(_fusion(dimensions, level.channels) if level.halves else nn.Identity())
            undone, inputs = {d: level.strides(d) for d in dimensions}, level.channels

    def forward(self, maps: Tensor, stem: Sequence[Tensor]) -> list[Tensor]:
        """Map the decoder's last stage (B, dim, *grid) to one tensor a level of the stem, coarse to fine."""
        levels = []
        for up, fuse, skip in zip(self.upsamplings, self.fusions, reversed(stem), strict=True):
            maps = self.run(fuse, _cut(self.run(up, maps), skip) + skip)
            levels.append(maps)
        return levels


def _upsampling(preset: Preset, stage: int, dimensions: Sequence[int]) -> Switchable:
    """Undo the patch embedding of the encoder's stage that the decoder's `stage` leaves."""
    inputs, outputs = preset.dims[::-1][stage : stage + 2]

    def make(d: int) -> nn.Module:
        strides = preset.strides(d, len(preset.dims) - 1 - stage)
        blocks = (ConvBlock(d, outputs, outputs, 3) for _ in range(preset.convolutions - 1))
        return nn.Sequential(up_convolution(d, inputs, outputs, strides), *blocks)

    return Switchable(dimensions, make)


def _switchable_up(
    dimensions: Sequence[int], inputs: int, outputs: int, strides: Mapping[int, Shape]
) -> Switchable:
    return Switchable(dimensions, lambda d: up_convolution(d, inputs, outputs, strides[d]))


def _fusion(dimensions: Sequence[int], channels: int) -> Switchable:
    return Switchable(dimensions, lambda d: ConvBlock(d, channels, channels, 3))


def _cut(maps: Tensor, like: Tensor) -> Tensor:
    """Drop the last voxel of axes that doubling made one longer than those of `like`."""
    for axis in range(2, maps.ndim):
        maps = maps.narrow(axis, 0, like.shape[axis])
    return maps
