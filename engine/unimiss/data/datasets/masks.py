"""Masks of a case: their values, and the classes that these stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unimiss.data.cases import Case
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.labels import HIGHEST, UNKNOWN
from unimiss.data.datasets.slices import is_stack, slice_pictures
from unimiss.data.grids import mismatch
from unimiss.errors import InputError
from unimiss.io import Image, Provenance, read


def read_mask(case: Case, dataset: Dataset) -> Image:
    """Read what is labelled in a case.

    Returns
    -------
    Image
        Exclusive classes: label values out of `dataset.labels`, (1, *shape), and the first of
        `dataset.unknown` where nobody labelled. Overlapping ones: 0 or 1, a channel for each label but the
        background, in their order, uint8 (classes, *shape), and `UNKNOWN` in all channels there.

    Raises
    ------
    InputError
        A mask cannot be read, is none, or lies on another grid than the case's first one.
    """
    masks = [_read_stack(path, case) if is_stack(path) else read_labels(path) for path in case.masks]
    first = masks[0]
    foreground = [value for value in dataset.labels if value]
    for path, mask in zip(case.masks, masks, strict=True):
        difference = mismatch(first.geometry, mask.geometry)
        if difference:
            raise InputError(f"{path} does not lie on the grid of {case.masks[0].name}: {difference}")
    planes = np.concatenate([mask.array for mask in masks])
    if dataset.overlapping:
        out = np.zeros((len(foreground), *first.geometry.shape), np.uint8)
        for channel, value in zip(out, foreground, strict=True):
            channel[:] = _is_in(planes, dataset.values.get(value, (value,)))
    else:
        highest = max([*foreground, *dataset.unknown[:1]])
        out = np.zeros((1, *first.geometry.shape), np.uint8 if highest < 256 else np.uint16)
        for value in foreground:
            out[0][np.isin(planes[0], dataset.values.get(value, (value,)))] = value
    if dataset.unknown:
        out[:, _is_in(planes, dataset.unknown)] = UNKNOWN if dataset.overlapping else dataset.unknown[0]
    return replace(first, array=out, labels=dataset.labels)


def _read_stack(folder: Path, case: Case) -> Image:
    """Put pictures into a volume, each where its slice of the case's image lies."""
    pictures, stored = slice_pictures(folder, case.image)
    planes = np.concatenate([read_labels(path).array for path in pictures])
    change = stored.to_anatomical()
    return Image(
        np.ascontiguousarray(change.apply(planes[None])),
        stored.reoriented(change),
        Provenance(folder, "stack", change),
    )


def _is_in(planes: NDArray[np.generic], parts: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a class is: of one label image by its values, of several planes by their places from 1."""
    if len(planes) == 1:
        return np.isin(planes[0], parts)
    out: NDArray[np.bool_] = np.any([planes[part - 1] != 0 for part in parts], axis=0)
    return out


def read_labels(path: Path) -> Image:
    """Read a mask file as it is; of a grey picture that was saved in colour one channel.

    Raises
    ------
    InputError
        It cannot be read, or holds something other than whole numbers from 0 to 65535.
    """
    mask = read(path)
    if mask.provenance is not None and mask.provenance.format == "picture" and mask.channels == 3:
        if (mask.array != mask.array[:1]).any():
            raise InputError(f"{path} is a colour picture; a mask needs one number for each pixel")
        mask = mask.with_array(mask.array[:1])
    mask_values(mask)
    return mask


def mask_values(mask: Image) -> set[int]:
    """Return the label values of a mask.

    Raises
    ------
    InputError
        It holds something other than whole numbers from 0 to 65535.
    """
    array = mask.array
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= HIGHEST) or (array.dtype.kind == "f" and (array != np.rint(array)).any()):
        path = mask.provenance.path if mask.provenance else None
        raise InputError(f"{path or 'the mask'} is no mask: it needs whole numbers from 0 to {HIGHEST}")
    seen = np.zeros(int(high) + 1, bool)
    for plane in array.reshape(-1, *array.shape[-2:]):  # np.unique sorts all voxels: 12 times slower
        seen[plane.astype(np.uint16)] = True
    return {int(value) for value in np.flatnonzero(seen)}
