"""From an image to the numbers that a network sees."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter1d

from unimiss.data.datasets import UNKNOWN
from unimiss.errors import InputError
from unimiss.io import Image
from unimiss.settings import Settings

_MOST_VOXELS = 2**30  # a whole body at 1 mm has a quarter of it
_LEAST_SMOOTHING = 0.1  # voxels; less changes nothing that can be seen
_CT_BELOW = -150.0  # air in Hounsfield units; no other modality has such values


Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0, le=16384)]


class Intensity(Settings):
    """How values are scaled.

    Attributes
    ----------
    scheme : "hounsfield", "fixed" or "percentile"
        Hounsfield: clip CT to [low, high], subtract `mean`, divide by `std`, all fitted to the cases. Fixed:
        the same for any image, with values that are given. Percentile: the image's own percentiles `low` and
        `high` become 0 and 1, and values beyond are clipped.
    """

    scheme: Literal["hounsfield", "fixed", "percentile"]
    low: float
    high: float
    mean: float = 0.0
    std: float = 1.0

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Scale finite values (C, *grid), one channel after another."""
        out = np.array(array, dtype=np.float32)
        for channel in out:
            low, high, mean, std = self.low, self.high, self.mean, self.std
            if self.scheme == "percentile":
                low, high = (float(v) for v in np.percentile(channel, (self.low, self.high)))
                mean, std = low, max(high - low, 1e-6)
            np.clip(channel, low, high, out=channel)
            channel -= mean
            channel /= std
        return out

    def from_stored(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Input values from what the cache holds: CT lies there in Hounsfield units, all else is scaled."""
        return self.apply(array) if self.scheme == "hounsfield" else array.astype(np.float32)


class Intensities(Settings):
    """How the values of several modalities are scaled, each channel by itself; does what `Intensity` does.

    Attributes
    ----------
    channels : tuple of Intensity
        In the order of the channels.
    """

    channels: Annotated[tuple[Intensity, ...], Field(min_length=2)]

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Scale finite values (C, *grid)."""
        scaled = [one.apply(plane[None]) for one, plane in zip(self.channels, array, strict=True)]
        return np.concatenate(scaled)

    def from_stored(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Input values from what the cache holds."""
        scaled = [one.from_stored(plane[None]) for one, plane in zip(self.channels, array, strict=True)]
        return np.concatenate(scaled)


Scaling = Intensity | Intensities

HOUNSFIELD = Intensity(scheme="hounsfield", low=-1024, high=3071)
PAPER_CT = Intensity(scheme="hounsfield", low=-1024, high=3071, std=1024)
BY_PERCENTILE = Intensity(scheme="percentile", low=0.5, high=99.5)


class Preprocessing(Settings):
    """What is done to every image of a model, recorded in its checkpoint.

    Attributes
    ----------
    spacing : tuple of float or None
        Volumes: voxel size in mm (depth, height, width) that they are resampled to.
    size : tuple of int or None
        Radiographs, and volumes that are seen whole: size that they are resized to.
    intensity : Intensity or Intensities
        How values are scaled.
    channels : int
        Channels of the network's input; one grey channel is repeated where it needs more.
    files : int
        Image files of a case, one for each modality, whose channels are put together.
    """

    spacing: tuple[Millimetres, Millimetres, Millimetres] | None = None
    size: tuple[Pixels, Pixels] | tuple[Pixels, Pixels, Pixels] | None = None
    intensity: Scaling
    channels: Annotated[int, Field(gt=0, le=64)] = 1
    files: Annotated[int, Field(gt=0, le=64)] = 1

    @property
    def dimension(self) -> int:
        """2 for radiographs, 3 for volumes."""
        return 3 if self.spacing is not None else len(self.size or (0, 0))

    def grid(self, image: Image) -> tuple[int, ...]:
        """Spatial shape of the prepared image; what is too large, or has other axes, is an InputError."""
        if image.geometry.ndim != self.dimension:
            raise InputError(
                f"{_name(image)} has {image.geometry.ndim} spatial axes of size {image.geometry.shape}; "
                f"this model takes {'volumes' if self.dimension == 3 else 'flat images'}"
            )
        if self.spacing is None:
            return self.size or image.geometry.shape
        extent = np.multiply(image.geometry.shape, image.geometry.spacing)
        grid = tuple(max(1, int(n)) for n in np.rint(extent / self.spacing))
        if math.prod(grid) > _MOST_VOXELS:
            size = " x ".join(f"{n:.0f}" for n in extent)
            raise InputError(f"{_name(image)} would be {size} mm large; its spacing must be wrong")
        return grid

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Resample an image and scale it: (channels, *grid).

        Raises
        ------
        InputError
            The image has another number of axes or channels than the network, or too many voxels.
        """
        grid, channels = self.grid(image), self._channels(image)
        try:
            return self.intensity.apply(_resample(_finite(channels), grid))
        except (MemoryError, RuntimeError) as error:  # torch reports a lack of memory as RuntimeError
            raise InputError(f"{_name(image)} cannot be resampled to {grid} voxels: {error}") from error

    def prepare_labels(
        self, labels: Image, values: list[int], unknown: int | None = None
    ) -> NDArray[np.uint8]:
        """Class indices of label images (C, *grid): the place of each value in `values`; others become 0.

        The value `unknown` marks voxels that nobody labelled, which become `UNKNOWN`.
        """
        indices = np.zeros(labels.array.shape, dtype=np.uint8)
        for index, value in enumerate(values):
            indices[labels.array == value] = index
        if unknown is not None:
            indices[labels.array == unknown] = UNKNOWN
        tensor = torch.from_numpy(indices)[None].float()
        out = F.interpolate(tensor, size=self.grid(labels), mode="nearest-exact")
        return np.asarray(out[0].to(torch.uint8).numpy())

    def _channels(self, image: Image) -> NDArray[np.generic]:
        array = image.array
        if image.channels == self.channels:
            return array
        if self.files > 1:
            raise InputError(
                f"{_name(image)} has {image.channels} channels; this model takes {self.channels}, "
                f"in {self.files} files such as case_0000.nii.gz and case_0001.nii.gz"
            )
        if image.channels == 1:
            return np.repeat(array, self.channels, axis=0)
        if image.channels == 3 and self.channels == 1 and self.dimension == 2:  # colours; of volumes anything
            return np.tensordot([0.299, 0.587, 0.114], array, axes=1)[None]
        raise InputError(f"{_name(image)} has {image.channels} channels; this model takes {self.channels}")


def is_ct(image: Image) -> bool:
    """Whether a volume's values are Hounsfield units, by what its file says it is, else by the air in it."""
    if image.geometry.ndim != 3:
        return False
    if image.provenance is not None and image.provenance.modality:
        return image.provenance.modality == "CT"
    return float(np.fmin.reduce(image.array, axis=None)) < _CT_BELOW  # fmin passes over NaN without a word


def _finite(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """Values as float32; what is not finite becomes its channel's smallest finite value."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is treated as that
        out = np.array(array, dtype=np.float32)
    for channel in out:
        finite = np.isfinite(channel)
        if not finite.all():
            channel[~finite] = channel[finite].min() if finite.any() else 0
    return out


def _resample(array: NDArray[np.float32], grid: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize (C, *shape) to (C, *grid) over the same extent, smoothing `array` in place if it gets coarser.

    The smoothing is scikit-image's: a Gaussian of half the excess of old voxels over new ones.
    """
    if array.shape[1:] == grid:
        return array
    for axis, (old, new) in enumerate(zip(array.shape[1:], grid, strict=True), start=1):
        sigma = (old / new - 1) / 2
        if sigma > _LEAST_SMOOTHING:
            gaussian_filter1d(array, sigma, axis=axis, output=array, mode="nearest")
    mode = "bilinear" if len(grid) == 2 else "trilinear"
    resized = F.interpolate(torch.from_numpy(array)[None], size=grid, mode=mode, align_corners=False)
    return np.asarray(resized[0].numpy())


def _name(image: Image) -> str:
    path = image.provenance.path if image.provenance else None
    return str(path) if path else "the image"
