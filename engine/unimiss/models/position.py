"""Learned position tables, and their resizing to any grid."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.presets import Shape
from unimiss.models.switch import key

_OFFSET = 0.1  # the release's, after DINO: released weights were trained with it


def resize_table(table: Tensor, native: Shape, grid: Shape) -> Tensor:
    """Interpolate a position table to another grid, every axis on its own.

    Parameters
    ----------
    table : Tensor, shape (1, [1 +] prod(native), C)
        With or without a leading class entry, which is kept as it is.
    native, grid : tuple of int
        Grid that the table is made for, and the one that is asked for.

    Returns
    -------
    Tensor, shape (1, [1 +] prod(grid), C)
        Bicubic in 2D, trilinear in 3D. An axis whose length changes is scaled by ``(n + 0.1) / native``; one
        that keeps it stays, which is also what the release's interpolation of volumes comes to.
    """
    if grid == native:
        return table
    entries = table.shape[1] - math.prod(native)
    cls, rest = table[:, :entries], table[:, entries:]
    maps = rest.transpose(1, 2).reshape(1, -1, *native)
    factors = [1.0 if n == old else (n + _OFFSET) / old for n, old in zip(grid, native, strict=True)]
    mode = "bicubic" if len(grid) == 2 else "trilinear"
    maps = F.interpolate(maps.float(), scale_factor=factors, mode=mode, align_corners=False)
    return torch.cat([cls, maps.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


class PositionTables(nn.Module):
    """The position tables of one stage, one for each dimension.

    Parameters
    ----------
    native : mapping of int to tuple of int
        Grid of each dimension.
    dim : int
        Width of a token.
    class_entry : bool
        Whether the first entry belongs to the class token.
    """

    def __init__(self, native: Mapping[int, Shape], dim: int, class_entry: bool) -> None:
        super().__init__()
        self.native = dict(native)
        self.tables = nn.ParameterDict()
        for d, grid in native.items():
            table = torch.empty(1, class_entry + math.prod(grid), dim)
            self.tables[key(d)] = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

    def forward(self, grid: Shape) -> Tensor:
        """Table for a grid, shape (1, [1 +] prod(grid), dim)."""
        return resize_table(self.tables[key(len(grid))], self.native[len(grid)], grid)
