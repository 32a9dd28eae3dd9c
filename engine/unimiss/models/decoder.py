"""MiT's decoder: three stages that climb back to the grid of the encoder's first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from unimiss.models.attention import Block
from unimiss.models.encoder import Encoded, Stage, split
from unimiss.models.presets import Preset, Shape, stage_grids
from unimiss.models.switch import Switchable, up_convolution


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


class Decoder(nn.Module):
    """Up-sampling, skip connections and Transformer stages 1 to 3, coarse to fine.

    Parameters
    ----------
    preset : Preset
        Widths and depths.
    native : mapping of int to tuple of int
        Input size of each dimension that is built.
    class_token : bool
        Whether the network has one.
    """

    def __init__(self, preset: Preset, native: Mapping[int, Shape], *, class_token: bool) -> None:
        super().__init__()
        dimensions: Sequence[int] = sorted(native)
        dims = preset.dims[::-1]  # 512, 256, 128, 48
        heads, reductions = preset.heads[:0:-1], preset.reductions[-2::-1]  # 8, 4, 2 and 2, 4, 6
        self.upsamplings = nn.ModuleList()
        self.stages = nn.ModuleList()
        for i, (inputs, dim) in enumerate(pairwise(dims)):
            self.upsamplings.append(
                Switchable(dimensions, partial(up_convolution, inputs=inputs, outputs=dim))
            )
            blocks = [
                Block(
                    dim, heads[i], reductions[i], dimensions, bias=False, mlp_ratio=preset.mlp_ratio, eps=1e-5
                )
                for _ in range(preset.decoder_depths[i])
            ]
            grids = {d: stage_grids(native[d])[2 - i] for d in dimensions}
            self.stages.append(Stage(blocks, grids, dim, class_token))
        self.norm = nn.LayerNorm(dims[-1])
        if class_token:
            pairs = pairwise(dims)
            self.cls_projections = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

    def forward(self, encoded: Encoded) -> Decoded:
        """Decode what the encoder gave; odd grids are cut to the encoder's."""
        *skips, maps = encoded.stages
        cls, outputs = encoded.cls, []
        for i, (up, stage) in enumerate(zip(self.upsamplings, self.stages, strict=True)):
            skip = skips.pop()
            maps = cut(up(maps), skip) + skip
            cls = None if cls is None else self.cls_projections[i](cls)
            tokens, grid = cast(Stage, stage).tokens(maps, cls)
            if not skips:
                tokens = self.norm(tokens)
            maps, cls = split(tokens, grid, cls is not None)
            outputs.append(maps)
        return Decoded(outputs, cls)


def cut(maps: Tensor, like: Tensor) -> Tensor:
    """Drop the last voxel of axes that doubling made one longer than those of `like`."""
    for axis in range(2, maps.ndim):
        maps = maps.narrow(axis, 0, like.shape[axis])
    return maps
