"""Opening medical images in napari, in anatomical order and in their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimiss.data.datasets import mask_values
from unimiss.errors import InputError
from unimiss.io import Image, read, suffix_of

if TYPE_CHECKING:
    from napari_unimiss.layers import LayerData

_MASK_FOLDERS = ("labelsTr", "labelsTs", "labels", "masks")

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
        plane, labels = _class_plane(one, image), class_names(one, image)
        if plane is not None:
            layers += mask_layers(plane, f"{name}: {one.absolute().parent.name}", one)
        elif labels:
            layers += mask_layers(replace(image, labels=labels), name, one)
        else:
            layers += image_layers(image, name, one)
    return layers


def class_names(path: Path, image: Image) -> dict[int, str]:
    """Names of a mask's values, or of its channels; empty for an image, whatever the folder says about masks.

    They come from ``labels.json`` beside the file, which predictions write, or from the ``dataset.json`` of
    the data set whose folder of masks holds the file.
    """
    names = _names(path.parent / "labels.json", lambda described: described)
    if not names and path.absolute().parent.name in _MASK_FOLDERS:
        names = _names(path.absolute().parent.parent / "dataset.json", lambda described: described["labels"])
    if image.channels > 1:
        from napari_unimiss.layers import are_classes

        return names if are_classes(replace(image, labels=names)) else {}
    if not names or float(image.array.min()) < 0:  # CT is told apart before all of its values are listed
        return {}
    try:
        return names if mask_values(image) <= {0, *names} else {}
    except InputError:
        return {}


def _class_plane(path: Path, image: Image) -> Image | None:
    """Return the mask of a class that lies apart, as ``heart/a.png``, with its number; None for others.

    So predictions write classes that overlap where a file holds one plane, with `labels.json` a folder above.
    """
    folder = path.absolute().parent
    names = _names(folder.parent / "labels.json", lambda described: described)
    number = next((value for value, name in names.items() if 0 < value < 256 and name == folder.name), None)
    if number is None or image.channels > 1 or not np.isin(image.array, (0, 255)).all():
        return None
    plane = (image.array > 0).astype(np.uint8) * np.uint8(number)  # its name and its colour are its own
    return replace(image, array=plane, labels={number: folder.name})


def _names(file: Path, part: Callable[[Any], Any]) -> dict[int, str]:
    """Names by value from a part of a JSON file, which maps values to names or names to values."""
    try:
        entries = part(json.loads(file.read_text(encoding="utf-8"))).items()
        try:
            return {int(value): str(name) for value, name in entries}
        except ValueError:
            return {int(value): str(name) for name, value in entries}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return {}


def _as_list(path: Paths) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
