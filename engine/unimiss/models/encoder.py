"""MiT's encoder: a switchable stem and four stages of tokens on ever coarser grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from unimiss.models.attention import Block
from unimiss.models.position import PositionTables
from unimiss.models.presets import Preset, Shape, stage_grids
from unimiss.models.switch import ConvBlock, Switchable


@dataclass
class Encoded:
    """What the encoder gives.

    Attributes
    ----------
    stem : Tensor, shape (B, 32, *grid)
        Half the input's size in plane.
    stages : list of Tensor, each (B, dim, *grid)
        Outputs of stages 1 to 4.
    cls : Tensor or None, shape (B, 1, dim of stage 4)
        The class token.
    """

    stem: Tensor
    stages: list[Tensor]
    cls: Tensor | None


class Stage(nn.Module):
    """Blocks on one grid: position table added, Transformer applied, tokens back to maps.

    Parameters
    ----------
    blocks : sequence of Block
        Shared between 2D and 3D.
    native : mapping of int to tuple of int
        Grid of this stage at each dimension's native input size.
    dim : int
        Width of a token.
    class_token : bool
        Whether a class token travels with the grid.
    """

    def __init__(
        self, blocks: Sequence[Block], native: Mapping[int, Shape], dim: int, class_token: bool
    ) -> None:
        super().__init__()
        self.position = PositionTables(native, dim, class_token)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps: Tensor, cls: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, dim, *grid) and the class token (B, 1, dim) to the same shapes."""
        tokens, grid = self.tokens(maps, cls)
        return split(tokens, grid, cls is not None)

    def tokens(self, maps: Tensor, cls: Tensor | None) -> tuple[Tensor, Shape]:
        """Tokens after the blocks, (B, [1 +] prod(grid), dim), and their grid."""
        grid = tuple(maps.shape[2:])
        tokens = maps.flatten(2).transpose(1, 2)
        if cls is not None:
            tokens = torch.cat([cls, tokens], dim=1)
        tokens = tokens + self.position(grid)
        for block in self.blocks:
            tokens = block(tokens, grid)
        return tokens, grid


def split(tokens: Tensor, grid: Shape, class_token: bool) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, [1 +] prod(grid), dim) to maps (B, dim, *grid) and the class token (B, 1, dim)."""
    start = int(class_token)
    maps = tokens[:, start:].transpose(1, 2).reshape(tokens.shape[0], -1, *grid)
    return maps, tokens[:, :1] if class_token else None


class Encoder(nn.Module):
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
        widths = (preset.stem, *preset.dims)
        rates = iter(torch.linspace(0, drop_path, sum(preset.depths)).tolist())
        self.stem = Switchable(
            dimensions,
            lambda d: ConvBlock(d, channels[d], preset.stem, 7, stride=(2, 2) if d == 2 else (1, 2, 2)),
        )
        self.embeddings = nn.ModuleList()
        self.stages = nn.ModuleList()
        for i, dim in enumerate(preset.dims):
            embedding = partial(ConvBlock, inputs=widths[i], outputs=dim, kernel=3, stride=2)
            self.embeddings.append(Switchable(dimensions, embedding))
            blocks = [
                Block(
                    dim,
                    preset.heads[i],
                    preset.reductions[i],
                    dimensions,
                    bias=True,
                    mlp_ratio=preset.mlp_ratio,
                    eps=1e-6,
                    drop_path=next(rates),
                )
                for _ in range(preset.depths[i])
            ]
            grids = {d: stage_grids(native[d])[i] for d in dimensions}
            self.stages.append(Stage(blocks, grids, dim, class_token))
        self.cls: nn.Parameter | None = None
        if class_token:
            self.cls = nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, 1, preset.dims[0]), std=0.02))
            pairs = pairwise(preset.dims)
            self.cls_projections = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

    def forward(self, x: Tensor) -> Encoded:
        """Encode images (B, channels, *shape) of any size."""
        maps = stem = self.stem(x)
        cls = None if self.cls is None else self.cls.expand(x.shape[0], -1, -1)
        outputs = []
        for i, (embed, stage) in enumerate(zip(self.embeddings, self.stages, strict=True)):
            if cls is not None and i > 0:
                cls = self.cls_projections[i - 1](cls)
            maps, cls = stage(embed(maps), cls)
            outputs.append(maps)
        return Encoded(stem, outputs, cls)
