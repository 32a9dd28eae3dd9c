"""A folder for each class."""

from __future__ import annotations

import re
from pathlib import Path

from unimiss.data.cases import Case, Split, find_images
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.folders import IMAGE_FOLDERS, MASK_FOLDERS
from unimiss.data.datasets.layout import classified, split_of, visible
from unimiss.data.datasets.problems import Problem
from unimiss.errors import InputError

_COUNTED = re.compile(r"([a-z]{3,})[-_ ]?\d+")


def read_classes(folder: Path) -> Dataset | None:
    """Read images whose folder is their class, also in folders of splits; None where there are not two.

    Names that only count the images of a class (``covid/cov_12``) begin anew in each split, so they tell
    patients apart only with their folders.
    """
    below = [path for path in visible(folder) if path.is_dir()]
    splits = [(path, split) for path in below if (split := split_of(path.name))]
    places: list[tuple[Path, Split | None]] = list(splits) if splits else [(folder, None)]
    cases: list[Case] = []
    problems: list[Problem] = []
    for place, split in places:
        inside = [path for path in visible(place) if path.is_dir()]
        if any(path.name in (*IMAGE_FOLDERS, *MASK_FOLDERS, "imagesTs", "labelsTs") for path in inside):
            return None
        if splits and not inside:
            problems.append(Problem("unlabelled", f"{place} has no folders of classes"))
        for one in inside:
            for path in _images(one):
                patient = f"{place.name}/{one.name}/{path.stem}" if split and _counts(path, one.name) else ""
                cases.append(Case((path,), classes=(one.name,), patient=patient, split=split))
    if len({case.classes for case in cases}) < 2:
        return None
    return classified(folder.resolve().name, cases, problems, overlapping=False)


def _counts(path: Path, name: str) -> bool:
    """Whether a file is called after its class, perhaps in short, and a number."""
    match = _COUNTED.fullmatch(path.stem.lower())
    return match is not None and (name.lower().startswith(match[1]) or match[1].startswith(name.lower()))


def _images(folder: Path) -> list[Path]:
    try:
        return find_images([folder])
    except InputError:  # no image in it, so it is no class
        return []
