"""Which prediction belongs to which reference."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unimiss.errors import InputError
from unimiss.evaluation.planes import MaskFiles
from unimiss.evaluation.problems import Kind, Problem
from unimiss.evaluation.tables import SEPARATOR, file_name, images_folder, read_references, trail
from unimiss.io import is_dicom, suffix_of

_FIRST_CHANNEL = "_0000"
"""Ends the name of nnU-Net's first, mostly only, image of a case; the case's mask goes without."""

_Trail = tuple[str, ...]
_Trails = tuple[list[_Trail], list[_Trail]]
_Group = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class MaskPair:
    """A predicted mask and its reference, with the image to draw them on and the patient, where known."""

    prediction: MaskFiles
    reference: MaskFiles
    image: Path | None = None
    patient: str = ""


@dataclass
class Matches:
    """Places in two lists that belong together, and what has no partner."""

    pairs: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def match(predictions: Sequence[str], references: Sequence[str]) -> Matches:
    """Pair files by name, whatever their suffixes; where names repeat, by as many folders as tell them apart.

    What has no partner of its name is paired without nnU-Net's ``_0000`` (``a_0000`` is an image, ``a`` its
    mask), unless its own side has that name too.

    Parameters
    ----------
    predictions, references : sequence of str
        File names or paths.

    Returns
    -------
    Matches
        Pairs of (prediction, reference). Several of one name that nothing tells apart are left out.
    """
    found = Matches()
    written = [trail(name) for name in predictions], [trail(name) for name in references]
    trails = _bare(*written), _bare(*written[::-1])
    everything = range(len(predictions)), range(len(references))
    groups = deque((group, 1) for group in _split(everything, trails, 0))
    while groups:
        (ours, theirs), depth = groups.popleft()
        if len(ours) == len(theirs) == 1:
            found.pairs.append((ours[0], theirs[0]))
        elif not ours:
            found.problems += (_problem(references[i], "missing", "has no prediction") for i in theirs)
        elif not theirs:
            found.problems += (_problem(predictions[i], "unreferenced", "has no reference") for i in ours)
        elif any(
            len(parts[i]) <= depth for parts, side in zip(trails, (ours, theirs), strict=True) for i in side
        ):
            words = f"is the name of {_count(ours, 'prediction')} and {_count(theirs, 'reference')}"
            found.problems.append(_problem(references[theirs[0]], "unusable", words))
        else:
            groups.extend((smaller, depth + 1) for smaller in _split((ours, theirs), trails, depth))
    found.pairs.sort(key=lambda pair: pair[1])
    return found


def _bare(trails: Sequence[_Trail], others: Sequence[_Trail]) -> list[_Trail]:
    """Take the number of the first channel off names that have a partner only without it."""
    own, wanted = {name for name, *_ in trails}, {name for name, *_ in others}
    return [
        (bare, *folders) if name not in wanted and bare in wanted - own else (name, *folders)
        for name, *folders in trails
        for bare in (name.removesuffix(_FIRST_CHANNEL),)
    ]


def _split(group: _Group, trails: _Trails, depth: int) -> Iterable[_Group]:
    groups: dict[str, tuple[list[int], list[int]]] = {}
    for side in (1, 0):  # in the order of the references
        for place in group[side]:
            groups.setdefault(trails[side][place][depth], ([], []))[side].append(place)
    return groups.values()


def _problem(name: str, kind: Kind, words: str) -> Problem:
    name = file_name(name)
    return Problem(name, kind, f"{name} {words}")


def _count(places: Sequence[int], thing: str) -> str:
    return f"{len(places)} {thing}{'s' * (len(places) != 1)}"


def pair_masks(
    predictions: Path, references: Path, images: Path | None = None
) -> tuple[list[MaskPair], list[Problem]]:
    """Find the masks of two folders, files, or a folder and a table of references.

    Raises
    ------
    InputError
        A path does not exist or holds no mask.
    """
    if references.suffix.lower() == ".csv":
        return _by_table(predictions, references, images_folder(images, references))
    ours, theirs = _masks(predictions), _masks(references)
    lookup = _Images(references, images)
    if predictions.is_file() and references.is_file():
        return [MaskPair(ours[0], theirs[0], lookup.of(references))], []
    found = match([mask.path.name for mask in ours], [mask.path.name for mask in theirs])
    pairs = [MaskPair(ours[i], theirs[j], lookup.of(theirs[j].path)) for i, j in found.pairs]
    one_file = {"missing": predictions.is_file(), "unreferenced": references.is_file()}  # asked for one alone
    return pairs, [problem for problem in found.problems if not one_file.get(problem.kind)]


def _by_table(predictions: Path, table: Path, images: Path) -> tuple[list[MaskPair], list[Problem]]:
    ours, rows = _masks(predictions), read_references(table)
    apart = any(SEPARATOR in row.label for row in rows)  # then one file alone is one class, too
    found = match([mask.path.name for mask in ours], [row.image for row in rows])
    paired = ((ours[i], rows[j]) for i, j in found.pairs)
    return [
        MaskPair(mask, _masks_in_table(table, row.label, apart), images / row.image, row.patient)
        for mask, row in paired
    ], found.problems


def _masks_in_table(table: Path, label: str, apart: bool) -> MaskFiles:
    """Return the mask that a cell of a table names, or the masks of its classes, which ``|`` joins."""
    parts = list(filter(None, map(str.strip, label.split(SEPARATOR)))) or [""]
    return MaskFiles(tuple(table.parent / part for part in parts), apart)


def class_folders(path: Path) -> list[Path]:
    """Return the folders of a folder that holds one of masks for each class, and no mask itself."""
    if not path.is_dir() or _files(path):
        return []
    return [inside for inside in sorted(path.iterdir()) if inside.is_dir() and _files(inside)]


def _masks(path: Path) -> list[MaskFiles]:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file() and not is_dicom(path):
        return [MaskFiles((path,))]
    folders = class_folders(path)
    if folders:
        return _of_classes(folders)
    files = _files(path) if path.is_dir() else []
    if not files:
        if any(map(is_dicom, (path, *path.glob("*")))):
            raise InputError(f"{path}: masks in DICOM are not read here; predict them with --format nii.gz")
        raise InputError(f"{path}: there is no mask in this folder")
    return [MaskFiles((file,)) for file in files]


def _files(folder: Path) -> list[Path]:
    """Masks directly in a folder, without the probabilities beside them."""
    if folder.name.startswith("."):
        return []
    return [
        file
        for file in sorted(folder.iterdir())
        if suffix_of(file)
        and not file.is_dir()
        and not is_dicom(file)
        and not file.name.startswith(".")
        and not trail(file)[0].endswith("_probabilities")
    ]


def _of_classes(folders: Sequence[Path]) -> list[MaskFiles]:
    """Put together what has one name in the folders of all classes."""
    by_class = [{file.name: file for file in _files(folder)} for folder in folders]
    masks = []
    for name in sorted({name for files in by_class for name in files}):
        present = tuple(files[name] for files in by_class if name in files)
        lacking = [folder.name for folder, files in zip(folders, by_class, strict=True) if name not in files]
        masks.append(MaskFiles(present, apart=True, lacking=", ".join(lacking)))
    return masks


class _Images:
    """Images of masks: in a folder that is named, or ``images…`` beside ``labels…`` or ``masks…``."""

    def __init__(self, references: Path, images: Path | None) -> None:
        if images is not None and not images.exists():
            raise InputError(f"{images}: there is no such file or folder")
        folder = references.resolve() if references.is_dir() else references.resolve().parent
        beside = folder.name.replace("labels", "images").replace("masks", "images")
        sought = images or folder.with_name(beside)
        self._found: dict[str, Path] = {}
        if sought.is_file():
            self._found[trail(references)[0]] = sought
        elif sought.is_dir() and sought.resolve() != folder:
            self._found = {trail(path)[0]: path for path in sorted(sought.iterdir(), reverse=True)}

    def of(self, mask: Path) -> Path | None:
        """Image of a mask: nnU-Net calls the first modality ``name_0000``."""
        name = trail(mask)[0]
        return self._found.get(name) or self._found.get(name + _FIRST_CHANNEL)
