"""What the files of one case hold: their grids, and the values of their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from unimiss.data.cache import Arrays, Cache
from unimiss.data.cases import Case
from unimiss.data.datasets.masks import mask_values, read_labels
from unimiss.data.datasets.problems import Problem
from unimiss.data.datasets.slices import is_stack, slice_pictures
from unimiss.data.filling import Job, Progress, fill
from unimiss.data.grids import mismatch
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import files_of
from unimiss.io.probe import probe

Contents = Mapping[Path, tuple[int, set[int]] | InputError]
"""For each mask file its channels, and its values or, of several channels, the places of those not empty."""


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


def look_at(case: Case, contents: Contents) -> Look:
    """Read the headers of a case's files, and what is known of the contents of its masks."""
    look = Look(case)
    files = (*case.images, *(path for path in case.masks if not is_stack(path)))
    try:
        first, *others = (probe(path) for path in files)
        masks = [_known(contents[path]) for path in case.masks]
    except InputError as error:
        missing = not all(path.exists() for path in files)
        look.problems.append(Problem("missing" if missing else "damaged", f"left out: {error}", case))
        return look
    look.grid = first
    look.problems += _unpaired(case)
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


def _unpaired(case: Case) -> list[Problem]:
    """Say where a folder of pictures does not fit the slices of its image."""
    problems = []
    for folder in filter(is_stack, case.masks):
        try:
            slice_pictures(folder, case.image)
        except InputError as error:
            problems.append(Problem("geometry", str(error)))
    return problems


def read_contents(masks: Sequence[Path], progress: Progress) -> Contents:
    """Channels and values of mask files, remembered in the cache, or why they cannot be read."""
    cache = Cache()
    jobs = [Job((path,), partial(_content, path)) for path in masks]
    results = fill(cache, jobs, "channels and values of a mask", progress)
    return {
        path: result if isinstance(result, InputError) else _stored(cache, result)
        for path, result in zip(masks, results, strict=True)
    }


def _content(path: Path) -> Arrays:
    if is_stack(path):
        seen = {value for picture in files_of(path) for value in mask_values(read_labels(picture))}
        return {"content": np.array([1, *sorted({0, *seen})], np.int32)}
    mask = read_labels(path)
    places = [place for place, plane in enumerate(mask.array, start=1) if plane.any()]
    values = {0, *(places if mask.channels > 1 else mask_values(mask))}
    return {"content": np.array([mask.channels, *sorted(values)], np.int32)}


def _stored(cache: Cache, key: str) -> tuple[int, set[int]]:
    channels, *values = (int(value) for value in cache.open(key, "content")[:])
    return channels, set(values)


def _known(content: tuple[int, set[int]] | InputError) -> tuple[int, set[int]]:
    if isinstance(content, InputError):
        raise content
    return content
