"""What the files of one case hold: their grids, and the values of their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unimiss.data.cache import Cache, cache_key
from unimiss.data.cases import Case
from unimiss.data.datasets.masks import mask_values, read_labels
from unimiss.data.datasets.problems import Problem
from unimiss.data.grids import mismatch
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.probe import probe


@dataclass
class Look:
    """What one look at a case's files says of it.

    Attributes
    ----------
    case : Case
        Which.
    grid : Geometry or None
        Of its image; None where a file of the case cannot be read.
    channels : int
        How many masks it has, in one file or several.
    values : set of int
        Values of its one mask; of several the places, from 1, of those that are not empty. 0 is among them.
    problems : list of Problem
        What is wrong with the case by itself.
    """

    case: Case
    grid: Geometry | None = None
    channels: int = 1
    values: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def look_at(case: Case) -> Look:
    """Read the headers of a case's images, and its masks."""
    look = Look(case)
    files = (*case.images, *case.masks)
    try:
        first, *others = (probe(path) for path in files)
        masks = [_values(path) for path in case.masks]
    except InputError as error:
        missing = not all(path.exists() for path in files)
        look.problems.append(Problem("missing" if missing else "damaged", f"left out: {error}", case))
        return look
    look.grid = first
    for path, grid in zip(files[1:], others, strict=True):
        difference = mismatch(first, grid)
        if difference:
            text = f"{path} does not lie on its image {case.image.name}: {difference}"
            look.problems.append(Problem("geometry", text))
    if len(masks) == 1:
        look.channels, look.values = masks[0]
    else:
        look.channels = max(1, len(masks))
        if any(channels > 1 for channels, _ in masks):
            text = f"{case.masks[0]} and the masks beside it need one channel each, as each has its own class"
            look.problems.append(Problem("labels", text))
        look.values = {0, *(place for place, (_, values) in enumerate(masks, start=1) if values - {0})}
    return look


def _values(path: Path) -> tuple[int, set[int]]:
    """Return the number of channels of a mask file, and its values, remembered in the cache."""

    def look() -> Mapping[str, NDArray[np.int32]]:
        mask = read_labels(path)
        places = [place for place, plane in enumerate(mask.array, start=1) if plane.any()]
        values = {0, *(places if mask.channels > 1 else mask_values(mask))}
        return {"values": np.array([mask.channels, *values], np.int32)}

    cache, key = Cache(), cache_key((path,), "values of a mask")
    cache.ensure(key, look)
    channels, *values = (int(value) for value in cache.open(key, "values")[:])
    return channels, set(values)
