"""A folder for each class."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from unimiss.data.cases import Case, Split, find_images
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.folders import IMAGE_FOLDERS, MASK_FOLDERS
from unimiss.data.datasets.layout import classified, is_split, split_of, visible
from unimiss.data.datasets.problems import Problem
from unimiss.errors import InputError

_OTHERS = (*IMAGE_FOLDERS, *MASK_FOLDERS, "imagesTs", "labelsTs")
_COUNTED = re.compile(r"([a-z]{3,})[-_ ]?\d+")


def read_classes(folder: Path) -> Dataset | None:
    """Read images whose folder is their class, also in folders of splits; None where there are not two.

    Classes beside folders of splits are the training, where no folder of it is there. Names that only count
    the images of a class (``covid/cov_12``) begin anew in each split, so they tell patients apart only with
    their folders.
    """
    below = _folders(folder)
    splits = [path for path in below if is_split(path.name)]
    beside = [path for path in below if path not in splits and (not splits or _images(path))]
    places = [(place, _folders(place), split_of(place.name)) for place in splits]
    problems = [
        Problem("unlabelled", f"{place} has no folders of classes")
        for place, inside, _ in places
        if not inside
    ]
    if not splits:
        places = [(folder, beside, None)]
    elif all(split != "training" for _, _, split in places):
        places.append((folder, beside, "training"))
    else:
        problems += [_stranger(path) for path in beside]
    if any(path.name in _OTHERS for _, inside, _ in places for path in inside):
        return None
    cases = [case for place, inside, split in places for case in _cases(place, inside, split)]
    names = {name for case in cases for name in case.classes}
    if len(names) < 2:
        return None
    named = sorted(name for name in names if split_of(name))
    if len({split_of(name) for name in named}) > 1:
        text = f"the classes {' and '.join(named)} have names of splits; call the splits train and test alone"
        problems.append(Problem("entries", text))
    return classified(folder.resolve().name, cases, problems, overlapping=False)


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()]


def _stranger(path: Path) -> Problem:
    text = f"{path} holds images beside the folders of splits; move it into one of these, or elsewhere"
    return Problem("entries", text)


def _cases(place: Path, folders: Sequence[Path], split: Split | None) -> Iterator[Case]:
    for one in folders:
        for path in _images(one):
            patient = f"{place.name}/{one.name}/{path.stem}" if split and _counts(path, one.name) else ""
            yield Case((path,), classes=(one.name,), patient=patient, split=split)


def _counts(path: Path, name: str) -> bool:
    """Whether a file is called after its class, perhaps in short, and a number."""
    match = _COUNTED.fullmatch(path.stem.lower())
    return match is not None and (name.lower().startswith(match[1]) or match[1].startswith(name.lower()))


def _images(folder: Path) -> list[Path]:
    try:
        return find_images([folder])
    except InputError:  # no image in it, so it is no class
        return []
