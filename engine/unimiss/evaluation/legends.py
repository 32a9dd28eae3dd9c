"""Which class is what in a prediction, and in its reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimiss.errors import InputError
from unimiss.evaluation.pairs import class_folders
from unimiss.evaluation.planes import MaskFiles, Parts, Planes

Legend = dict[str, tuple[int, ...]]
"""For each class of a folder, by name, what it is in the masks: values or, of several planes, places."""

IGNORED = "ignore"
"""What nnU-Net calls voxels that nobody labelled; it is no class."""

_MOST_CLASSES = 255


@dataclass(frozen=True)
class Agreement:
    """What is scored.

    Attributes
    ----------
    labels : dict of int to str
        Names of the classes, by label.
    predicted, true : mapping of int to tuple of int
        What each label is in the prediction and in its reference.
    """

    labels: dict[int, str]
    predicted: Parts
    true: Parts


def read_legends(predictions: Path, references: Path) -> tuple[Legend, Legend]:
    """Read the names of the classes of two folders or files of masks; empty where no file says them.

    Folders of masks for each class name these. Else ``labels.json`` beside the masks counts and, for
    references, the ``dataset.json`` of their data set, whose regions are several values.

    Raises
    ------
    InputError
        A file is damaged, or gives two classes one name.
    """
    ours, theirs = (
        path.resolve() if path.is_dir() else path.resolve().parent for path in (predictions, references)
    )
    return (
        _of_folders(predictions) or _of_file(ours / "labels.json"),
        _of_folders(references)
        or _of_file(theirs.parent / "dataset.json", "labels")
        or _of_file(theirs / "labels.json"),
    )


def most_classes(masks: Iterable[MaskFiles]) -> tuple[str, ...]:
    """Name the classes of masks that have a file for each, by the folders of the one with most files.

    Each is "" where these do not tell them apart; of masks of one file, there is none.
    """
    return max((_classes(mask) for mask in masks if mask.apart), key=len, default=())


def row_legend(mask: MaskFiles, classes: tuple[str, ...], *, ordered: bool) -> Legend:
    """Return what the classes are in a mask that has a file for each; empty where its folders do not say it.

    Raises
    ------
    InputError
        It has not the `classes` of the others; or not in their order, if it must.
    """
    found = _classes(mask) if mask.apart else ()
    if mask.apart and found != classes and (ordered or sorted(found) != sorted(classes)):
        wanted = ", ".join(filter(None, classes)) or f"{len(classes)} files"
        order = ", in their order, for the predictions do not name theirs" if ordered else ""
        raise InputError(f"the reference needs a file for each class, as the others have ({wanted}){order}")
    return {name: (place,) for place, name in enumerate(found, start=1) if name}


def _classes(mask: MaskFiles) -> tuple[str, ...]:
    names = tuple(file.parent.name for file in mask.files)
    return names if len(set(names)) == len(names) else ("",) * len(names)


def agree(ours: Legend, theirs: Legend, predicted: Planes, true: Planes) -> Agreement:
    """Find the classes of a prediction in its reference: by name, where both have names, else by number.

    What is scored are the classes that the predictions name, else those of the references, else all that
    there are; `IGNORED` is none.

    Raises
    ------
    InputError
        A class is missing, or numbers cannot stand for names: there are more channels or fewer.
    """
    ours, theirs = ({name: legend[name] for name in legend if name != IGNORED} for legend in (ours, theirs))
    named = ours or theirs
    if not named:
        return _by_number(predicted, true)
    labels = _numbered(named)
    flat = len(predicted) == len(true) == 1
    found = [
        {label: _found(name, named, legend, planes, who, flat) for label, name in labels.items()}
        for legend, planes, who in ((ours, predicted, "the prediction"), (theirs, true, "the reference"))
    ]
    return Agreement(labels, found[0], found[1])


def _found(name: str, named: Legend, legend: Legend, planes: Planes, who: str, flat: bool) -> tuple[int, ...]:
    several = len(planes) > 1
    if name in legend:
        parts = legend[name]
    elif legend and not flat:
        raise InputError(f"{who} has no class {name!r}; its classes are {', '.join(legend)}")
    elif several and len(planes) != len(named):
        raise InputError(
            f"{who} has {len(planes)} channels for {len(named)} classes; name them in a labels.json beside it"
        )
    else:
        parts = (list(named).index(name) + 1,) if several else named[name]
    if several and max(parts) > len(planes):
        raise InputError(f"{who} has {len(planes)} channels; {name!r} would be number {max(parts)}")
    return parts


def _by_number(predicted: Planes, true: Planes) -> Agreement:
    if len(predicted) != len(true):
        raise InputError(
            f"the numbers of channels differ, {len(predicted)} and {len(true)}; "
            "name the classes of each in a labels.json beside it"
        )
    values = sorted({*predicted.values(), *true.values()})
    if len(values) > _MOST_CLASSES:
        raise InputError(f"they hold {len(values)} different values, so they are images, not masks")
    return Agreement({value: str(value) for value in values}, {}, {})


def _numbered(legend: Legend) -> dict[int, str]:
    """Labels of classes: the smallest value of each or, where two have the same, their places from 1."""
    smallest = [min(parts) for parts in legend.values()]
    numbers: Sequence[int] = smallest if len(set(smallest)) == len(smallest) else range(1, len(legend) + 1)
    return dict(zip(numbers, legend, strict=True))


def _of_folders(folder: Path) -> Legend:
    return {inside.name: (place,) for place, inside in enumerate(class_folders(folder), start=1)}


def _of_file(path: Path, key: str = "") -> Legend:
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        legend = _parsed(entries.get(key, {}) if key else entries)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: it must map label values to names") from error
    names = [name for name, _ in legend]
    if len(set(names)) < len(names):
        raise InputError(f"{path} gives two label values the same name; give each its own")
    return dict(sorted(legend, key=lambda entry: entry[1]))


def _parsed(entries: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Names with their values; either may come first, and nnU-Net's regions have lists of values."""
    found: list[tuple[str, tuple[int, ...]]]
    if all(key.isdigit() for key in entries):
        found = [(str(name), (int(value),)) for value, name in entries.items()]
    else:
        found = [
            (name, tuple(int(value) for value in (parts if isinstance(parts, list) else [parts])))
            for name, parts in entries.items()
        ]
    return [(name, parts) for name, parts in found if parts and min(parts) > 0]
