"""What kind of image each file of a case is, decided once for a whole data set."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from unimiss.data.cache import Arrays, Cache
from unimiss.data.cases import Case
from unimiss.data.datasets import Dataset
from unimiss.data.filling import Job, Progress, fill
from unimiss.data.preprocessing import is_ct
from unimiss.errors import InputError
from unimiss.io import read

_LOOKED_AT = 25  # cases, whatever the size of the data set
_LEAST_SPAN = 16.0  # of the values of CT; what was scaled to 0 to 1 would be lost in whole Hounsfield units
_CT = {"ct", "cta", "cect", "ncct", "ct scan", "computed tomography"}
_OTHERS = {
    *(
        "mr",
        "mri",
        "mra",
        "t1",
        "t1w",
        "t1c",
        "t1ce",
        "t1gd",
        "t1n",
        "t2",
        "t2w",
        "t2f",
        "flair",
        "swi",
        "pd",
    ),
    *("dwi", "adc", "cbf", "cbv", "mtt", "tmax", "pet", "pt", "suv", "spect", "nm", "us", "ultrasound"),
}


@dataclass(frozen=True)
class Kind:
    """What the files at one place of all cases are.

    Attributes
    ----------
    flat : bool
        Pictures, not volumes.
    channels : int
        Of a file.
    ct : bool
        Their values are Hounsfield units.
    named : bool
        The data set says so; else most files that were looked at do.
    """

    flat: bool
    channels: int
    ct: bool
    named: bool


@dataclass(frozen=True)
class _Seen:
    """What one file says: its number of axes and channels, whether it looks like CT, its values' span."""

    ndim: int
    channels: int
    ct: bool
    span: float


def kinds_of(
    dataset: Dataset, cache: Cache, progress: Progress, warn: Callable[[str], None]
) -> tuple[Kind, ...]:
    """Decide, from the names of the channels and else by majority, what each file of a case is.

    Some cases of the whole data set are opened, the same whichever of them train: so all folds agree. What
    they say is remembered in the cache.

    Raises
    ------
    InputError
        No image can be read.
    """
    seen = _look(dataset, cache, progress)
    names = [*dataset.channels, *[""] * len(dataset.cases[0].images)]
    kinds = []
    for place, files in enumerate(zip(*seen, strict=True)):
        (ndim, channels), _ = Counter((one.ndim, one.channels) for one in files).most_common(1)[0]
        ct, named = 2 * sum(one.ct for one in files) > len(files), False
        if len(seen[0]) == 1 < channels:
            _refuse_mixed(dataset, names[:channels])
        word = names[place].strip().lower()
        if word in _OTHERS:
            ct, named = False, True
        elif word in _CT and ndim == 3:
            span, named = median(one.span for one in files), True
            ct = span >= _LEAST_SPAN
            if not ct:
                warn(
                    f"{dataset.name} calls channel {place} {names[place]}, but its values span {span:.3g}: "
                    "these are no Hounsfield units, and are scaled by percentiles"
                )
        kinds.append(Kind(ndim == 2, channels, ct, named))
    return tuple(kinds)


def _refuse_mixed(dataset: Dataset, names: Sequence[str]) -> None:
    """Refuse a file that holds CT beside another modality: all its channels are scaled alike."""
    of_ct = [name.strip().lower() in _CT for name in names]
    if any(of_ct) and not all(of_ct):
        raise InputError(
            f"{dataset.name} holds {', '.join(names)} in one file, whose channels are scaled alike; "
            "write each modality to a file of its own (name_0000, name_0001)"
        )


def _look(dataset: Dataset, cache: Cache, progress: Progress) -> list[list[_Seen]]:
    """Open a few cases, in an order that has nothing to do with that of the data set."""
    order = sorted(dataset.cases, key=lambda case: (zlib.crc32(case.name.encode()), str(case.image)))
    for start in range(0, len(order), _LOOKED_AT):
        jobs = [Job(case.images, partial(_facts, case.images)) for case in order[start : start + _LOOKED_AT]]
        keys = fill(cache, jobs, "what kind of images", lambda share: progress(0.0))
        facts = [cache.open(key, "facts")[:] for key in keys if isinstance(key, str)]
        most = max(map(len, facts), default=0)
        if facts:
            return [
                [_Seen(int(a), int(b), bool(c), float(d)) for a, b, c, d in one]
                for one in facts
                if len(one) == most
            ]
    raise InputError(f"none of the {len(order)} images can be read, first {dataset.cases[0].image}")


def _facts(files: Sequence[Path]) -> Arrays:
    rows = []
    for image in map(read, files):
        low, high = (
            float(f.reduce(image.array, axis=None)) for f in (np.fmin, np.fmax)
        )  # they pass over NaN
        rows.append((image.geometry.ndim, image.channels, is_ct(image), high - low))
    return {"facts": np.array(rows, np.float64)}


def name_odd_ones(
    kinds: Sequence[Kind],
    looks: Sequence[tuple[Case, Sequence[int]]],
    name: str,
    warn: Callable[[str], None],
) -> None:
    """Warn of volumes that look like CT among others, or the other way round.

    Parameters
    ----------
    kinds : sequence of Kind
        Of the data set.
    looks : sequence of (Case, sequence of int)
        For each file of a case 1 if it looks like CT, else 0.
    name : str
        Of the data set.
    warn : callable
        Receives one sentence for each place in a case, unless the data set says what lies there.
    """
    for place, kind in enumerate(kinds):
        odd = [case.images[place] for case, ct in looks if ct[place] != kind.ct]
        if kind.named or kind.flat or not odd:
            continue
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        unlike, scaled = ("no CT", "in Hounsfield units") if kind.ct else ("CT", "by percentiles")
        warn(
            f"{odd[0]}{more}: {unlike} by values or header, unlike most volumes of {name}; all are scaled "
            f"{scaled}. If that is wrong, name the channel in a dataset.json, or take the file out"
        )
