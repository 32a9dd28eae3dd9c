"""Which files a pre-training learns from: all but masks and held-out patients' images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimiss.data.cases import patient_of, search
from unimiss.errors import InputError
from unimiss.io.probe import probe
from unimiss.pretraining.prepare import Warn, keep_trainable

_ENOUGH = 10  # files among which one patient with more than half of them is remarkable


@dataclass(frozen=True)
class Trainable:
    """Files to train on, and those of held-out patients."""

    images: list[Path]
    volumes: list[Path]
    held_out: list[Path]


def find_trainable(
    images: Sequence[Path], volumes: Sequence[Path], holdout: int, warn: Warn, notice: Callable[[str], None]
) -> Trainable:
    """Find the images below files, folders and lists; what both kinds name goes where its dimension belongs.

    Parameters
    ----------
    images, volumes : sequence of Path
        Where flat images and volumes are.
    holdout : int
        One patient in so many is held out; 0 for none.
    warn : callable
        Receives a sentence where a kind that was asked for is not trained on, and where nearly all files
        seem to be one patient's.
    notice : callable
        Receives how many files were left out as masks and as held-out patients'.

    Raises
    ------
    InputError
        A path does not exist, or nothing is left to train on.
    """
    flat, deep = search(images), search(volumes)
    masks = {*flat.masks, *deep.masks}
    if masks:
        notice(f"{len(masks)} files are left out as masks by their names, first {min(masks)}")
    by_kind = dict(zip(("images", "volumes"), _by_dimension(flat.images, deep.images), strict=True))
    trained: dict[str, list[Path]] = {}
    held_out: list[Path] = []
    for kind, found in by_kind.items():
        if holdout:
            _warn_of_one_patient(kind, found, warn)
        trained[kind], held = keep_trainable(found, holdout)
        held_out += held
    if not any(trained.values()):
        raise InputError("every image belongs to a held-out patient; --set holdout=0 trains on all of them")
    for kind, wanted, other in (("images", images, "volumes"), ("volumes", volumes, "images")):
        if wanted and not trained[kind]:
            warn(_without(kind, len(by_kind[kind]), wanted[0], other))
    if held_out:
        notice(f"{len(held_out)} images of held-out patients are left out")
    return Trainable(trained["images"], trained["volumes"], held_out)


def _without(kind: str, found: int, place: Path, other: str) -> str:
    if not found:
        return f"there are no {kind} in {place}, so the run trains on {other} alone; name a folder of {kind}"
    return (
        f"all {found} {kind} belong to held-out patients, so the run trains on {other} alone; "
        "--set holdout=0 trains on them too"
    )


def _by_dimension(images: list[Path], volumes: list[Path]) -> tuple[list[Path], list[Path]]:
    """Take files that stand among both out of the wrong one; unreadable ones stay in one, and are named."""
    both = set(images) & set(volumes)
    dimensions = {path: _dimension(path) for path in both}
    unreadable = 3 if 3 in dimensions.values() else 2
    flat = {path for path, dimension in dimensions.items() if (dimension or unreadable) == 2}
    deep = both - flat
    return [path for path in images if path not in deep], [path for path in volumes if path not in flat]


def _dimension(path: Path) -> int | None:
    try:
        return probe(path).ndim
    except InputError:
        return None


def _warn_of_one_patient(kind: str, found: list[Path], warn: Warn) -> None:
    if len(found) < _ENOUGH:
        return
    patients = [patient_of(path) for path in found]
    patient, count = Counter(patients).most_common(1)[0]
    if 2 * count > len(found):
        warn(
            f"{count} of {len(found)} {kind} count as one patient's by their names, first "
            f"{found[patients.index(patient)]}, so all of them or none are held out; if they are of several, "
            "give each a folder or a file name of its own"
        )
