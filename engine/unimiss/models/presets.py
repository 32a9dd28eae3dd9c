"""The sizes of MiT that exist, as data (spec: UniMiSS, section "MiT")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Network = Literal["tiny", "small"]
Shape = tuple[int, ...]

NATIVE: dict[int, Shape] = {2: (224, 224), 3: (16, 96, 96)}
"""Input sizes that the published position tables are made for."""

INPUT_CHANNELS = {2: 3, 3: 1}
"""Channels of the published stems: radiographs are repeated to three."""


@dataclass(frozen=True)
class Preset:
    """Widths and depths of one MiT; encoder stages 1 to 4, decoder stages 1 to 3 (coarse to fine)."""

    depths: tuple[int, int, int, int]
    decoder_depths: tuple[int, int, int]
    dims: tuple[int, int, int, int] = (48, 128, 256, 512)
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    reductions: tuple[int, int, int, int] = (6, 4, 2, 1)
    stem: int = 32
    mlp_ratio: int = 4


PRESETS: dict[str, Preset] = {
    "tiny": Preset(depths=(1, 1, 1, 1), decoder_depths=(1, 1, 1)),
    "small": Preset(depths=(2, 3, 4, 3), decoder_depths=(3, 4, 3)),
}


def stem_grid(shape: Shape) -> Shape:
    """Grid after the stem for an input of `shape`: half in plane, rounded up, every slice kept."""
    return (*shape[:-2], *(-(-size // 2) for size in shape[-2:]))


def stage_grids(shape: Shape, stages: int = 4) -> list[Shape]:
    """Grids of the encoder's stages for an input of `shape`: each half of the one before, rounded up."""
    grids: list[Shape] = []
    grid = stem_grid(shape)
    for _ in range(stages):
        grid = tuple(-(-size // 2) for size in grid)
        grids.append(grid)
    return grids
