"""A stage of the Transformer, the same in encoder and decoder: a position table and blocks on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from unimiss.models.attention import Block
from unimiss.models.position import PositionTables
from unimiss.models.presets import Shape


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
    norm : bool
        Whether a layer norm ends the stage.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        native: Mapping[int, Shape],
        dim: int,
        *,
        class_token: bool,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.position = PositionTables(native, dim, class_token)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, maps: Tensor, cls: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, dim, *grid) and the class token (B, 1, dim) to the same shapes."""
        grid = tuple(maps.shape[2:])
        tokens = maps.flatten(2).transpose(1, 2)
        if cls is not None:
            tokens = torch.cat([cls, tokens], dim=1)
        tokens = tokens + self.position(grid)
        for block in self.blocks:
            tokens = block(tokens, grid)
        return _split(self.norm(tokens), grid, cls is not None)


def _split(tokens: Tensor, grid: Shape, class_token: bool) -> tuple[Tensor, Tensor | None]:
    """Tokens (B, [1 +] prod(grid), dim) to maps (B, dim, *grid) and the class token (B, 1, dim)."""
    start = int(class_token)
    maps = tokens[:, start:].transpose(1, 2).reshape(tokens.shape[0], -1, *grid)
    return maps, tokens[:, :1] if class_token else None
