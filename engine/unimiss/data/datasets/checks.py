"""Everything that a data set's files must be before a training may begin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from unimiss.data.cases import Case
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.duplicates import duplicates
from unimiss.data.datasets.labels import IGNORED, checked
from unimiss.data.datasets.looks import Look, look_at, read_contents
from unimiss.data.datasets.problems import Acceptable, Problem, leave_out, refuse
from unimiss.errors import InputError


def check_dataset(
    dataset: Dataset,
    *,
    accept: Collection[Acceptable] = (),
    report: Callable[[float], None],
    warn: Callable[[str], None],
) -> Dataset:
    """Look at every file of a data set, and refuse it with all of its problems at once.

    Cases with a file that is missing or damaged, or without a label, are left out with a warning. What
    refuses the data set: images and masks on different grids, volumes among flat images, label values that it
    does not name, empty masks, one image under two names, a patient in two splits, and entries of its tables
    that make no sense. All headers and masks are read; images only where two files may be the same.

    Returns
    -------
    Dataset
        Without the cases that are left out; with labels, named by their values where no file names them.

    Raises
    ------
    InputError
        One line for each problem.
    """
    found, problems = inspect_dataset(dataset, report)
    refuse(dataset.name, problems, accept)
    gone = leave_out(problems, warn)
    cases = tuple(case for case in found.cases if case not in gone)
    if not cases:
        first = next((one.text for one in problems if one.case is not None), "")
        raise InputError(
            f"none of the {len(dataset.cases)} labelled cases of {dataset.name} can be used; {first}"
        )
    return replace(found, cases=cases, problems=())


def inspect_dataset(
    dataset: Dataset, report: Callable[[float], None] = lambda share: None
) -> tuple[Dataset, list[Problem]]:
    """Return a data set with its labels, and all of its problems; see `check_dataset`."""
    masks = [path for case in dataset.cases for path in case.masks]
    contents = read_contents(list(dict.fromkeys(masks)), lambda share: report(share / 2))
    looks, total = [], len(dataset.cases)
    for number, case in enumerate(dataset.cases, start=1):
        looks.append(look_at(case, contents))
        report((1 + number / total) / 2)
    if dataset.kind == "segmentation":
        dataset = _with_labels(dataset, looks)
    sound = [look.case for look in looks if look.grid is not None]
    problems = [
        *dataset.problems,
        *chain.from_iterable(look.problems for look in looks),
        *_own_masks(dataset.cases),
        *_dimensions(dataset, looks),
        *_labels(dataset, looks),
        *duplicates(sound),
        *_splits(dataset.cases),
    ]
    return dataset, problems


def _with_labels(dataset: Dataset, looks: Sequence[Look]) -> Dataset:
    """Name the labels by their values where no file names them; see whether each has a channel of its own."""
    channels = max((look.channels for look in looks), default=1)
    labels = dataset.labels
    if not labels:
        values = {
            *chain.from_iterable(look.values for look in looks),
            *(range(1, channels + 1) if channels > 1 else ()),
        }
        names = {value: str(value) for value in sorted(values) if value}
        labels = checked(names, f"the masks of {dataset.name}")
    return replace(dataset, labels=labels, overlapping=dataset.overlapping or channels > 1)


def _labels(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Problem]:
    if dataset.kind == "classification":
        if len(dataset.labels) < 2 and not dataset.overlapping:
            names = ", ".join(dataset.labels.values())
            yield Problem("labels", f"{dataset.name} has no two classes to tell apart, only {names}")
        return
    blank = {0}  # what labels nothing
    for value, name in dataset.labels.items():
        if name == IGNORED:
            blank.update(dataset.values.get(value, (value,)))
    known = {0, *chain.from_iterable(dataset.values.get(value, (value,)) for value in dataset.labels)}
    for look in looks:
        if look.grid is None:
            continue
        mask = look.case.masks[0]
        if dataset.overlapping and not dataset.values and look.channels < len(dataset.labels) - 1:
            classes = f"{len(dataset.labels) - 1} classes, which need a channel each"
            yield Problem("labels", f"{mask} has {look.channels} channels; the data set has {classes}")
            continue
        unknown = sorted(look.values - known)
        if unknown:
            what = "values" if look.channels == 1 else "channels"
            yield Problem(
                "labels", f"{mask} holds the {what} {unknown[:5]}, which the data set does not name"
            )
        elif look.values <= blank:
            yield Problem(
                "empty masks",
                f"{mask} is empty: it labels no voxel; the setting accept=[empty masks] allows it",
            )


def _own_masks(cases: Sequence[Case]) -> Iterator[Problem]:
    for case in cases:
        for path in sorted(set(case.images) & set(case.masks)):
            yield Problem("entries", f"{path} is named as the image and as the mask of one case")


def _dimensions(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Problem]:
    flat = [look.case for look in looks if look.grid is not None and look.grid.ndim == 2]
    volumes = [look.case for look in looks if look.grid is not None and look.grid.ndim == 3]
    if flat and volumes:
        yield Problem(
            "dimensions",
            f"{dataset.name} mixes {len(volumes)} volumes and {len(flat)} flat images, "
            f"such as {volumes[0].image} and {flat[0].image}; put them into two data sets",
        )
    for what in ("images", "masks"):
        counts = {len(getattr(case, what)): case for case in dataset.cases}
        if len(counts) > 1:
            few, many = min(counts), max(counts)
            yield Problem(
                "dimensions",
                f"{counts[few].image} has {few} {what}, {counts[many].image} has {many}; "
                "all cases need the same number",
            )


def _splits(cases: Sequence[Case]) -> Iterator[Problem]:
    """Find patients who are in two splits or folds; files are named, for a patient's key may be a name."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(case.patient, case)
        if (other.split, other.fold) != (case.split, case.fold):
            places = f"{other.image} ({_place(other)}) and {case.image} ({_place(case)})"
            yield Problem("splits", f"{places} are of one patient, who would be in two splits")


def _place(case: Case) -> str:
    return f"{case.split or 'no split'}{'' if case.fold is None else f', fold {case.fold}'}"
