"""The one value that stands for an image: numbers, where they lie, where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.geometry import Geometry, Reorientation


@dataclass(frozen=True)
class Provenance:
    """The way back to the file that an image was read from.

    Attributes
    ----------
    path : Path or None
        The file.
    format : str
        "nifti", "itk", "picture" or "dicom": which module of `unimiss.io` wrote `header` and understands it.
    reorientation : Reorientation
        From the file's array order (slowest axis first) to the image's.
    header : object
        What the format's own writer needs to restore the file's header.
    modality : str
        CT, MR, CR, … where the file says it, else "".
    """

    path: Path | None
    format: str
    reorientation: Reorientation
    header: Any = None
    modality: str = ""


@dataclass(frozen=True, eq=False)
class Image:
    """An image in anatomical order with its geometry.

    Attributes
    ----------
    array : array, shape (C, depth, height, width) or (C, height, width)
        Values in the file's own units (Hounsfield units for CT).
    geometry : Geometry
        Grid of the spatial axes.
    provenance : Provenance or None
        None for images that were made here.
    labels : mapping of int to str
        Names of the values, for masks.
    """

    array: NDArray[Any]
    geometry: Geometry
    provenance: Provenance | None = None
    labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.geometry.shape
        if self.array.shape[1:] != shape:
            raise InputError(f"an image array of shape {self.array.shape} is not a channel axis and {shape}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])

    def with_array(self, array: NDArray[Any], labels: Mapping[int, str] | None = None) -> Image:
        """Other values on the same grid with the same way back; `array` has a channel axis."""
        return replace(self, array=array, labels=self.labels if labels is None else labels)

    def in_file_order(self) -> tuple[NDArray[np.generic], Geometry]:
        """Array and grid in the axis order of the file that the image came from."""
        if self.provenance is None:
            return self.array, self.geometry
        back = self.provenance.reorientation.inverse()
        return back.apply(self.array), self.geometry.reoriented(back)
