"""MiT's encoder: a switchable stem and four stages of tokens on ever coarser grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from unimiss.models.attention import Block, drop_rates
from unimiss.models.convolution import conv_blocks
from unimiss.models.presets import Preset, Shape
from unimiss.models.recompute import Recomputing
from unimiss.models.stage import Stage
from unimiss.models.switch import Switchable


@dataclass
class Encoded:
    """What the encoder gives.

    Attributes
    ----------
    stem : list of Tensor, each (B, channels, *grid)
        Levels of the stem, fine to coarse; the last one has half the input's size in plane.
    stages : list of Tensor, each (B, dim, *grid)
        Outputs of stages 1 to 4.
    cls : Tensor or None, shape (B, 1, dim of stage 4)
        The class token.
    """

    stem: list[Tensor]
    stages: list[Tensor]
    cls: Tensor | None


class Encoder(Recomputing):
    """Stem, patch embeddings and Transformer stages 1 to 4.

    Parameters
    ----------
    preset : Preset
        Widths and depths.
    channels : mapping of int to int
        Input channels of each dimension that is built.
    native : mapping of int to tuple of int
        Input size that each dimension's position tables are made for.
    class_token : bool
        Whether the network has one.
    drop_path : float
        Stochastic depth of the last block, growing linearly from 0.
    """

    def __init__(
        self,
        preset: Preset,
        channels: Mapping[int, int],
        native: Mapping[int, Shape],
        *,
        class_token: bool,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        dimensions = sorted(channels)
        self.stem = nn.ModuleList(_stem_level(preset, i, channels) for i in range(len(preset.stem)))
        self.embeddings = nn.ModuleList()
        self.stages = nn.ModuleList()
        grids = {d: preset.grids(native[d]) for d in dimensions}
        rates = iter(drop_rates(drop_path, sum(preset.depths)))
        for i, dim in enumerate(preset.dims):
            blocks = [
                Block(
                    dim,
                    preset.heads[i],
                    preset.reductions[i],
                    dimensions,
                    bias=True,
                    depthwise=preset.depthwise,
                    mlp_ratio=preset.mlp_ratio,
                    eps=1e-6,
                    drop_path=next(rates),
                )
                for _ in range(preset.depths[i])
            ]
            self.embeddings.append(_patch_embedding(preset, i, dimensions))
            self.stages.append(
                Stage(blocks, {d: grids[d][i] for d in dimensions}, dim, class_token=class_token)
            )
        self.cls: nn.Parameter | None = None
        if class_token:
            self.cls = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, 1, preset.dims[0]), std=0.02))
            self.cls_projections = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(preset.dims))

    def forward(self, x: Tensor) -> Encoded:
        """Encode images (B, channels, *shape) of any size."""
        maps, stem, stages = x, [], []
        for level in self.stem:
            maps = self.run(level, maps)
            stem.append(maps)
        cls = None if self.cls is None else self.cls.expand(x.shape[0], -1, -1)
        for i, (embed, stage) in enumerate(zip(self.embeddings, self.stages, strict=True)):
            if cls is not None and i > 0:
                cls = self.cls_projections[i - 1](cls)
            maps, cls = self.run(stage, self.run(embed, maps), cls)
            stages.append(maps)
        return Encoded(stem, stages, cls)


def _stem_level(preset: Preset, i: int, channels: Mapping[int, int]) -> Switchable:
    level = preset.stem[i]

    def make(d: int) -> nn.Module:
        inputs = channels[d] if i == 0 else preset.stem[i - 1].channels
        return conv_blocks(d, inputs, level.channels, level.kernel, level.strides(d), level.convolutions)

    return Switchable(sorted(channels), make)


def _patch_embedding(preset: Preset, stage: int, dimensions: Sequence[int]) -> Switchable:
    inputs = (preset.stem[-1].channels, *preset.dims)[stage]

    def make(d: int) -> nn.Module:
        return conv_blocks(d, inputs, preset.dims[stage], 3, preset.strides(d, stage), preset.convolutions)

    return Switchable(dimensions, make)
