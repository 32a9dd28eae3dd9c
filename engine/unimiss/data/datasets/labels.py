"""Names of classes: from a data set's own description, and changed as the user wants them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from unimiss.data.cases import Case
from unimiss.data.datasets.dataset import Dataset
from unimiss.errors import InputError

HIGHEST = 65535
BACKGROUND = "background"
_BACKGROUNDS = (BACKGROUND, "bg")
IGNORED = "ignore"
"""nnU-Net's name for voxels that nobody labelled; no class."""
_MOST_CLASSES = 255
UNKNOWN = _MOST_CLASSES
"""Stands for such voxels among the indices of classes, which end below it."""

Values = dict[int, tuple[int, ...]]


def checked(labels: Mapping[int, str], source: object) -> dict[int, str]:
    """Sort the labels of masks, background first, and refuse what a mask cannot hold."""
    wrong = [value for value in labels if not 0 <= value <= HIGHEST]
    if wrong:
        raise InputError(f"{source}: label values go from 0 to {HIGHEST}, found {wrong[0]}")
    if len(labels) > _MOST_CLASSES:
        raise InputError(f"{source}: {len(labels)} label values are more than {_MOST_CLASSES} classes")
    names = [name for value, name in labels.items() if value]
    if len(set(names)) < len(names):
        raise InputError(f"{source}: two label values have one name; 'labels' of the settings joins classes")
    swapped = [value for value, name in labels.items() if value and name.lower() in _BACKGROUNDS]
    if swapped and 0 in labels:
        raise InputError(
            f"{source}: the background of masks is 0, found {labels[swapped[0]]!r} for {swapped[0]} "
            f"and {labels[0]!r} for 0; change the values, in the masks too"
        )
    return dict(sorted({0: BACKGROUND, **labels}.items()))


def parse_labels(entries: Any, source: object) -> tuple[dict[int, str], Values]:
    """Read the 'labels' of a ``dataset.json``.

    Parameters
    ----------
    entries : mapping
        Decathlon: value to name. nnU-Net: name to value, or to the list of values that make a region.
    source : object
        Names the file in errors.

    Returns
    -------
    labels : dict of int to str
        By value, that of a region being its smallest; regions that overlap are counted from 1.
    values : dict of int to tuple of int
        What makes each region in the masks; empty where there are none.
    """
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{source}: 'labels' must map values to names, or names to values")
    try:
        if all(str(key).lstrip("-").isdigit() for key in entries):
            return checked({int(value): str(name) for value, name in entries.items()}, source), {}
        parts = {str(name): _parts(value) for name, value in entries.items()}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{source}: 'labels' must map values to names, or names to whole numbers or lists of them"
        ) from error
    if all(len(part) == 1 for part in parts.values()):
        if len({part[0] for part in parts.values()}) < len(parts):
            raise InputError(f"{source}: two names of 'labels' have one value")
        return checked({part[0]: name for name, part in parts.items()}, source), {}
    regions = {name: part for name, part in parts.items() if part != (0,)}
    checked({value: str(value) for part in regions.values() for value in part}, source)
    apart = not overlap(regions.values())
    places = [min(part) if apart else place for place, part in enumerate(regions.values(), start=1)]
    labels = {0: BACKGROUND, **dict(zip(places, regions, strict=True))}
    return labels, dict(zip(places, regions.values(), strict=True))


def overlap(parts: Iterable[Collection[int]]) -> bool:
    """Whether a value belongs to two classes."""
    values = [value for part in parts for value in set(part)]
    return len(set(values)) < len(values)


def _parts(value: Any) -> tuple[int, ...]:
    parts = value if isinstance(value, list) else [value]
    if not parts or any(isinstance(part, bool | float) for part in parts) or (len(parts) > 1 and 0 in parts):
        raise ValueError
    return tuple(int(part) for part in parts)


def relabel(dataset: Dataset, labels: Mapping[str, str], ignore: Collection[str]) -> Dataset:
    """Rename, join and drop classes; of masks with overlapping ones, number what is left from 1.

    Parameters
    ----------
    dataset : Dataset
        With labels.
    labels : mapping of str to str
        Old name to new one. Classes that get one name become one; a class may be joined to another's name.
    ignore : collection of str
        Names of classes that are not learned: of masks they become background; cases lose them, and are left
        out where each has exactly one.

    Raises
    ------
    InputError
        A name is no class of the data set, or is renamed and ignored, or no class is left.
    """
    segments = dataset.kind == "segmentation"
    known = [name for value, name in dataset.labels.items() if value or not segments]
    unknown = [name for name in [*labels, *ignore] if name not in known]
    if unknown:
        raise InputError(
            f"{dataset.name} has no class {unknown[0]!r} that could be renamed or ignored; "
            f"its classes are {', '.join(known)}"
        )
    both = [name for name in labels if name in ignore]
    if both:
        raise InputError(
            f"{both[0]!r} is in 'labels' and in 'ignore': a class is either called "
            f"{labels[both[0]]!r}, or not learned"
        )
    if not labels and not ignore:
        return _counted(dataset)
    names = {name: None if name in ignore else labels.get(name, name) for name in known}
    if segments:
        names = {old: None if new in (BACKGROUND, dataset.labels[0]) else new for old, new in names.items()}
    if not any(names.values()):
        raise InputError(f"{dataset.name}: no class is left once {', '.join(sorted(ignore))} is ignored")
    return _counted(_segmented(dataset, names)) if segments else _classified(dataset, names)


def set_apart(dataset: Dataset) -> Dataset:
    """Take the name "ignore" out of the classes of masks: it marks voxels that nobody labelled."""
    value = next((value for value, name in dataset.labels.items() if value and name == IGNORED), None)
    if dataset.kind != "segmentation" or value is None:
        return dataset
    labels, values = dict(dataset.labels), dict(dataset.values)
    del labels[value]
    unknown = values.pop(value, (value,))
    return _counted(replace(dataset, labels=labels, values=values, unknown=unknown))


def _segmented(dataset: Dataset, names: Mapping[str, str | None]) -> Dataset:
    kept = {name: value for value, name in dataset.labels.items() if value and names.get(name) == name}
    values: dict[int, list[int]] = {}
    for value, name in dataset.labels.items():
        new = names.get(name) if value else None
        if new is not None:
            kept.setdefault(new, value)
            values.setdefault(kept[new], []).extend(dataset.values.get(value, (value,)))
    labels = {0: dataset.labels[0], **{value: name for name, value in kept.items()}}
    parts = {value: tuple(sorted(set(part))) for value, part in values.items()}
    return replace(dataset, labels=dict(sorted(labels.items())), values=parts)


def _counted(dataset: Dataset) -> Dataset:
    """Give overlapping classes of masks the numbers of their channels in a model's masks, from 1."""
    if dataset.kind != "segmentation" or not dataset.overlapping:
        return dataset
    background, *classes = dataset.labels.items()
    parts = [dataset.values.get(value, (value,)) for value, _ in classes]
    names = [background, *enumerate((name for _, name in classes), start=1)]
    return replace(dataset, labels=dict(names), values=dict(enumerate(parts, start=1)))


def _classified(dataset: Dataset, names: Mapping[str, str | None]) -> Dataset:
    cases = []
    for case in dataset.cases:
        new = tuple(dict.fromkeys(name for old in case.classes if (name := names[old]) is not None))
        if new or dataset.overlapping:
            cases.append(replace(case, classes=new))
    found = dict.fromkeys(name for name in names.values() if name is not None)
    return replace(dataset, cases=tuple(cases), labels=class_labels(found, sort=False))


def class_labels(names: Collection[str], *, sort: bool = True) -> dict[int, str]:
    """Give classes numbers from 0, sorted by number or by name."""
    ordered = (
        sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n)) if sort else names
    )
    return dict(enumerate(ordered))


def used_classes(cases: Collection[Case]) -> set[str]:
    """Names of the classes that cases have."""
    return {name for case in cases for name in case.classes}
