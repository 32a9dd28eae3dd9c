"""Colours of classes, and greys of CT, the same in the viewer and in pictures."""

from __future__ import annotations

SOFT_TISSUE = (-160.0, 240.0)
"""Black and white of CT, in Hounsfield units: centre 40, width 400."""

_PALETTE = (
    (31, 119, 180),
    (214, 39, 40),
    (148, 103, 189),
    (44, 160, 44),
    (255, 127, 14),
    (188, 189, 34),
    (23, 190, 207),
    (227, 119, 194),
    (140, 86, 75),
    (127, 201, 127),
    (253, 192, 134),
    (56, 108, 176),
)


def class_colour(index: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of the class at a place in the list of labels; 0 is the background."""
    return _PALETTE[(index - 1) % len(_PALETTE)]
