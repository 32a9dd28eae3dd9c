"""Opening medical images in napari, in anatomical order and in their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimiss.io import Image, read, suffix_of

if TYPE_CHECKING:
    from napari_unimiss.layers import LayerData

Paths = str | Path | Sequence[str | Path]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the function that reads `path`, or None where some of it is no medical image file."""
    paths = _as_list(path)
    return read_layers if paths and all(suffix_of(one) for one in paths) else None


def read_layers(path: Paths) -> list[LayerData]:
    """Read files as layers: images, and masks with class names where the folder names the classes."""
    from napari_unimiss.layers import image_layers, mask_layers

    layers: list[LayerData] = []
    for one in _as_list(path):
        image = read(one)
        name = one.name[: -len(suffix_of(one))]
        labels = class_names(one, image)
        if labels:
            layers += mask_layers(replace(image, labels=labels), name, one)
        else:
            layers += image_layers(image, name, one)
    return layers


def class_names(path: Path, image: Image) -> dict[int, str]:
    """Names of a mask's values from ``labels.json`` beside it, which predictions write; empty for images."""
    if image.channels != 1 or not np.issubdtype(image.array.dtype, np.integer):
        return {}
    try:
        names = json.loads((path.parent / "labels.json").read_text(encoding="utf-8"))
        return {int(value): str(name) for value, name in names.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _as_list(path: Paths) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
