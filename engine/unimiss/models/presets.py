"""The sizes of MiT and MiT+ that exist, as data (spec: UniMiSS, section "MiT")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

Network = Literal["tiny", "small", "plus"]
Shape = tuple[int, ...]
Strides = tuple[int, ...]

INPUT_CHANNELS = {2: 3, 3: 1}
"""Channels of the published stems: radiographs are repeated to three."""


@dataclass(frozen=True)
class StemLevel:
    """One resolution of the stem, before there are tokens.

    Attributes
    ----------
    channels : int
        Of its maps.
    kernel : int
        Of its convolutions.
    convolutions : int
        How many.
    halves : bool
        Whether the first one halves height and width; slices are never skipped here.
    """

    channels: int
    kernel: int
    convolutions: int
    halves: bool

    def strides(self, dimension: int) -> Strides:
        """Step of the first convolution along every axis."""
        plane = (2, 2) if self.halves else (1, 1)
        return plane if dimension == 2 else (1, *plane)


@dataclass(frozen=True)
class Preset:
    """Widths and depths; encoder stages 1 to 4 (fine to coarse), decoder stages 1 to 3 (coarse to fine).

    Attributes
    ----------
    depths, dims, heads, reductions : tuple of int
        Blocks, token width, attention heads and spatial reduction of the encoder's stages; the decoder's
        widths and reductions mirror them.
    decoder_depths, decoder_heads : tuple of int
        Blocks and attention heads of the decoder's stages.
    stem : tuple of StemLevel
        Fine to coarse.
    depth_strides : tuple of int
        Step between slices of each stage's patch embedding; height and width are always halved.
    convolutions : int
        Conv blocks of a patch embedding; all but one are repeated after each up-sampling of the decoder.
    depthwise : bool
        Whether the spatial reduction works on every channel by itself.
    decoder_class_token : bool
        Whether the class token goes through the decoder, and is the representation there.
    native : mapping of int to tuple of int
        Input sizes that the published position tables are made for.
    """

    depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    native: Mapping[int, Shape]
    dims: tuple[int, ...] = (48, 128, 256, 512)
    heads: tuple[int, ...] = (1, 2, 4, 8)
    decoder_heads: tuple[int, ...] = (8, 4, 2)
    reductions: tuple[int, ...] = (6, 4, 2, 1)
    stem: tuple[StemLevel, ...] = (StemLevel(channels=32, kernel=7, convolutions=1, halves=True),)
    depth_strides: tuple[int, ...] = (2, 2, 2, 2)
    convolutions: int = 1
    depthwise: bool = False
    decoder_class_token: bool = True
    mlp_ratio: int = 4

    def strides(self, dimension: int, stage: int) -> Strides:
        """Step of the patch embedding of stage 0, 1, 2 or 3 along every axis."""
        return (2, 2) if dimension == 2 else (self.depth_strides[stage], 2, 2)

    def grids(self, shape: Shape) -> list[Shape]:
        """Grids of the encoder's stages for an input of `shape`; every division is rounded up."""
        d = len(shape)
        steps = [level.strides(d) for level in self.stem] + [
            self.strides(d, i) for i in range(len(self.dims))
        ]
        return list(accumulate(steps, _divide, initial=shape))[len(self.stem) + 1 :]


def _divide(grid: Shape, strides: Strides) -> Shape:
    return tuple(-(-size // stride) for size, stride in zip(grid, strides, strict=True))


_UNIMISS_NATIVE = {2: (224, 224), 3: (16, 96, 96)}
_PLUS_NATIVE = {2: (96, 96), 3: (16, 96, 96)}

PRESETS: dict[str, Preset] = {
    "tiny": Preset(depths=(1, 1, 1, 1), decoder_depths=(1, 1, 1), native=_UNIMISS_NATIVE),
    "small": Preset(depths=(2, 3, 4, 3), decoder_depths=(3, 4, 3), native=_UNIMISS_NATIVE),
    "plus": Preset(
        depths=(1, 2, 4, 2),
        decoder_depths=(1, 1, 1),
        native=_PLUS_NATIVE,
        dims=(128, 256, 320, 320),
        decoder_heads=(4, 2, 1),
        reductions=(8, 4, 2, 1),
        stem=(
            StemLevel(channels=32, kernel=3, convolutions=1, halves=False),
            StemLevel(channels=64, kernel=3, convolutions=2, halves=True),
        ),
        depth_strides=(2, 2, 1, 1),
        convolutions=2,
        depthwise=True,
        decoder_class_token=False,
    ),
}
