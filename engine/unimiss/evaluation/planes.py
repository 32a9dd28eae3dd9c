"""Where each class of a mask is, whether it is a label image or has a channel or a file for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import Image, read

Box = tuple[slice, ...]
Parts = Mapping[int, tuple[int, ...]]
"""For each class, by its label, what it is in a mask: values or, of several planes, their places from 1."""

_HIGHEST = 65535  # label value


@dataclass(frozen=True, eq=False)
class Planes:
    """The classes of one mask.

    Attributes
    ----------
    array : array of int, shape (1, *shape) or (classes, *shape)
        A label image, or 0 where a class is not and another number where it is, for each class.
    parts : mapping of int to tuple of int
        What each label is in the array; one that is not named is its own value, or its own place.
    """

    array: NDArray[np.integer]
    parts: Parts = field(default_factory=dict)

    @classmethod
    def of(cls, image: Image) -> Planes:
        """Take the classes of an image.

        Raises
        ------
        InputError
            It holds values that are no labels; or a channel of several has more than one, besides 0.
        """
        array = _whole(image.array)
        for place, plane in enumerate(array if len(array) > 1 else (), start=1):
            if ((plane != 0) & (plane != plane.max())).any():
                raise InputError(
                    f"a mask has one channel, or one for each class that is 0 or 1; channel {place} of "
                    f"{len(array)} holds more values"
                )
        return cls(array)

    def __len__(self) -> int:
        """Return the number of planes."""
        return len(self.array)

    def values(self) -> list[int]:
        """Labels without names: the values of a label image, or the places of several planes."""
        if len(self) > 1:
            return list(range(1, len(self) + 1))
        return [value for value in np.unique(self.array).tolist() if value]

    def inside(self, label: int, box: Box = ()) -> NDArray[np.bool_]:
        """Say where a class is, in a box or everywhere."""
        parts = self._parts(label)
        if len(self) == 1:
            plane = self.array[0][box]
            return plane == parts[0] if len(parts) == 1 else np.isin(plane, parts)
        out: NDArray[np.bool_] = np.any([self.array[part - 1][box] != 0 for part in parts], axis=0)
        return out

    def box(self, label: int) -> Box | None:
        """Return the smallest box around a class; None where it is nowhere."""
        found = [self._boxes[part - 1] if part <= len(self._boxes) else None for part in self._parts(label)]
        return joint(*found)

    def _parts(self, label: int) -> tuple[int, ...]:
        return self.parts.get(label, (label,))

    @cached_property
    def _boxes(self) -> list[Box | None]:
        """Box around each value, or each plane, from 1."""
        if len(self) == 1:
            return list(find_objects(self.array[0].astype(np.int32)))
        return [(find_objects((plane != 0).view(np.uint8)) or [None])[0] for plane in self.array]


@dataclass(frozen=True)
class MaskFiles:
    """Where the mask of a case lies.

    Attributes
    ----------
    files : tuple of Path
        One, or one for each class in the order of its planes.
    apart : bool
        Whether each file is one class, all that is not 0 in it.
    lacking : str
        Name of a class whose file is missing, if one is.
    """

    files: tuple[Path, ...]
    apart: bool = False
    lacking: str = ""

    @property
    def path(self) -> Path:
        """First, mostly the only, file."""
        return self.files[0]

    def __str__(self) -> str:
        return str(self.path)

    def read(self, parts: Parts | None = None) -> tuple[Planes, Geometry]:
        """Read the classes, and the grid on which they lie.

        Raises
        ------
        InputError
            A file is missing, damaged or no mask, or lies on another grid than the first.
        """
        if self.lacking:
            raise InputError(f"{self.path.name} has no mask of {self.lacking}")
        images = [_grey(read(path), path) for path in self.files]
        grid = images[0].geometry
        if not self.apart:
            try:
                return replace(Planes.of(images[0]), parts=parts or {}), grid
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from error
        for path, image in zip(self.files, images, strict=True):
            difference = grid.difference(image.geometry)
            if difference:
                raise InputError(f"{path} lies on another grid than the other classes: {difference}")
            if image.channels > 1:
                raise InputError(f"{path} is of one class and needs one channel, found {image.channels}")
        planes = np.concatenate([_whole(image.array) != 0 for image in images]).view(np.uint8)
        return Planes(planes, parts or {}), grid


def where_known(predicted: Planes, true: Planes, unknown: tuple[int, ...]) -> tuple[Planes, Planes]:
    """Make background, in a mask and in its reference, of what the reference says nobody labelled.

    Parameters
    ----------
    predicted, true : Planes
        On one grid.
    unknown : tuple of int
        What marks such voxels in the reference, as in `Parts`; empty where nothing does.

    Raises
    ------
    InputError
        The reference has fewer channels.
    """
    if not unknown:
        return predicted, true
    if 1 < len(true) < max(unknown):
        raise InputError(f"the reference has {len(true)} channels; 'ignore' would be number {max(unknown)}")
    blank = Planes(true.array, {1: unknown}).inside(1)
    ours, theirs = (np.where(blank, mask.array.dtype.type(0), mask.array) for mask in (predicted, true))
    return replace(predicted, array=ours), replace(true, array=theirs)


def joint(*boxes: Box | None) -> Box | None:
    """Smallest box around all of some boxes; None where there is none."""
    present = [box for box in boxes if box is not None]
    if not present:
        return None
    axes = zip(*present, strict=True)
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)


def _grey(image: Image, path: Path) -> Image:
    """One channel of a grey picture that was saved in colour."""
    picture = image.provenance is not None and image.provenance.format == "picture"
    if not picture or image.channels == 1:
        return image
    if (image.array != image.array[:1]).any():
        raise InputError(f"{path} is a colour picture; a mask needs one number for each pixel")
    return image.with_array(image.array[:1])


def _whole(array: NDArray[np.generic]) -> NDArray[np.integer]:
    """Values of a mask as whole numbers; refuses what are no labels."""
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= _HIGHEST):  # NaN fails too
        raise InputError(f"a mask holds whole numbers from 0 to {_HIGHEST}, found {low} to {high}")
    small = array.dtype.kind == "u" and array.dtype.itemsize <= 2
    values: NDArray[Any] = array.astype(array.dtype if small else np.int32, copy=False)
    if array.dtype.kind == "f" and not (values == array).all():
        raise InputError("a mask holds whole numbers, found fractions")
    return values
