"""A folder for each class."""

from __future__ import annotations

from pathlib import Path

from unimiss.data.cases import Case, Split, find_images
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.folders import IMAGE_FOLDERS, MASK_FOLDERS
from unimiss.data.datasets.layout import classified, split_of, visible
from unimiss.data.datasets.problems import Problem
from unimiss.errors import InputError


def read_classes(folder: Path) -> Dataset | None:
    """Read images whose folder is their class, also in folders of splits; None where there are not two."""
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
            cases += [Case((path,), classes=(one.name,), split=split) for path in _images(one)]
    if len({case.classes for case in cases}) < 2:
        return None
    return classified(folder.resolve().name, cases, problems, overlapping=False)


def _images(folder: Path) -> list[Path]:
    try:
        return find_images([folder])
    except InputError:  # no image in it, so it is no class
        return []
