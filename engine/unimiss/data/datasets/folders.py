"""A folder of images beside a folder of masks with the same names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unimiss.data.cases import Case, Split, find_images, group_channels, stem
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.labels import parse_labels
from unimiss.data.datasets.layout import masked, split_of, visible
from unimiss.data.datasets.problems import Problem
from unimiss.errors import InputError
from unimiss.io import is_dicom, suffix_of

LABELS = "labels.json"
IMAGE_FOLDERS = ("imagesTr", "images", "image", "img")
MASK_FOLDERS = ("labelsTr", "masks", "labels", "label", "mask")
Names = dict[str, Path]
_FOLD = re.compile(r"fold[-_ ]?(\d+)", re.IGNORECASE)
_ENDINGS = ("_mask", "_seg", "_label", "_segmentation")


def read_folders(folder: Path) -> Dataset | None:
    """Read images beside masks, at once or in folders of splits; None where there are none.

    A mask has the name of its image, perhaps followed by ``_mask``, ``_seg`` or ``_label``, in the same
    sub-folder or, where no other image or mask has that name, in any; an image of DICOM may be a folder of
    that name. Masks in sub-folders of structures (``masks/heart/a.png``, ``masks/lungs/a.png``) make classes
    that may overlap. Masks in folders of folds (``fold1/masks``, ``scratch/fold2/masks``) say in which fold
    an image is; the lowest number is fold 0. A ``labels.json`` among the masks, as predictions have it, names
    their values or channels.
    """
    places: list[tuple[Path, Split | None]] = [(folder, None)]
    places += [(path, split) for path in visible(folder) if path.is_dir() and (split := split_of(path.name))]
    cases: list[Case] = []
    problems: list[Problem] = []
    structures: list[str] = []
    labels: dict[int, str] = {}
    found = False
    for place, split in places:
        images, masks = first_of(place, IMAGE_FOLDERS), first_of(place, MASK_FOLDERS)
        folders = _folds(place) if masks is None else [masks]
        if images is None or not folders:
            continue
        found = True
        structures = sorted({name for one in folders for name in _structures(images, one)})
        labels = labels or _labels(folders[0] / LABELS)
        more, wrong = _match(images, folders, structures, split)
        cases += more
        problems += wrong
    if not found:
        return None
    dataset = masked(folder.resolve().name, cases, problems, structures)
    return replace(dataset, labels=labels) if labels and not structures else dataset


def _labels(file: Path) -> dict[int, str]:
    """Names in a ``labels.json``; none where there is no such file."""
    if not file.is_file():
        return {}
    try:
        return parse_labels(json.loads(file.read_text(encoding="utf-8-sig")), file)[0]
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}") from error


def masks_by_name(folder: Path) -> Names:
    """Masks below a folder by path without suffix; ``label0001`` in the folder ``label`` is ``0001`` too.

    A name that no other mask has stands for its path: ``ct`` of several patients is nobody's.
    """
    files = [path for path in sorted(folder.rglob("*")) if suffix_of(path) and not path.name.startswith(".")]
    names = [path.name.removeprefix(folder.name).removesuffix(suffix_of(path)) for path in files]
    counts = Counter(names)
    by_name = {name: path for name, path in zip(names, files, strict=True) if counts[name] == 1}
    return by_name | {_key(path, folder): path for path in files}


def pairs(
    files: Sequence[Path], images: Path, masks: Sequence[Names]
) -> Iterator[tuple[dict[int, Path], tuple[Path, ...]]]:
    """Cases of a folder: their files by channel, and the masks of their name, one of each group that has it.

    Only files without a mask of their own are channels of one case: ``frame_0001.png`` may be a case.
    """
    counts = Counter(path.name.removesuffix(suffix_of(path)) for path in {*files, *group_channels(files)})
    own = {file: _masks_of(_names(file, images, counts), masks) for file in files}
    alone = [({0: file}, found) for file, found in own.items() if found]
    rest = group_channels(file for file, found in own.items() if not found)
    joined = [
        (by_channel, _masks_of(_names(case, images, counts), masks)) for case, by_channel in rest.items()
    ]
    yield from sorted(alone + joined, key=lambda pair: pair[0][min(pair[0])])


def _masks_of(names: Sequence[str], masks: Sequence[Names]) -> tuple[Path, ...]:
    found = [next((one[name] for name in names if name in one), None) for one in masks]
    return tuple(mask for mask in found if mask is not None)


def _names(path: Path, folder: Path, counts: Mapping[str, int]) -> list[str]:
    """Names that an image's mask may have: its path in the folder, its name if it is one of a kind."""
    if path.exists() and is_dicom(path):
        inside = path.relative_to(folder).parent.as_posix()
        return [stem(path), *([inside] if inside != "." else []), _key(path, folder)]
    name = path.name.removesuffix(suffix_of(path))
    plain = [_key(path, folder), *([name, name.removeprefix(folder.name)] if counts[name] == 1 else [])]
    return [name + ending for ending in ("", *_ENDINGS) for name in plain if name]


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_name(path.name[: len(path.name) - len(suffix_of(path))]).as_posix()


def first_of(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first folder of these names, however capitalised, in a folder, if there is one."""
    inside = {path.name.lower(): path for path in visible(folder) if path.is_dir()}
    return next((inside[name.lower()] for name in names if name.lower() in inside), None)


def _folds(folder: Path) -> list[Path]:
    """Folders of masks in folders of folds, in a folder or one below it, by the folds' numbers."""
    below = [path for path in visible(folder) if path.is_dir()]
    places = [*below, *(inside for path in below for inside in visible(path) if inside.is_dir())]
    numbered = [(int(match[1]), path) for path in places if (match := _FOLD.fullmatch(path.name))]
    return [masks for _, path in sorted(numbered) if (masks := first_of(path, MASK_FOLDERS)) is not None]


def _structures(images: Path, masks: Path) -> list[str]:
    """Sub-folders of masks, where they do not mirror those of the images."""
    inside = [path.name for path in visible(masks) if path.is_dir()]
    return [] if any((images / name).is_dir() or split_of(name) for name in inside) else inside


def _match(
    images: Path, folders: Sequence[Path], structures: Sequence[str], split: Split | None
) -> tuple[list[Case], list[Problem]]:
    """Match images with masks: all in one folder, or in a folder for each fold."""
    by_name = [
        {key: path for masks in folders for key, path in masks_by_name(masks / name).items()}
        for name in structures or ("",)
    ]
    cases, problems = [], []
    masks = folders[0]
    used: set[Path] = set()
    for by_channel, present in pairs(find_images([images]), images, by_name):
        files = tuple(file for _, file in sorted(by_channel.items()))
        used.update(present)
        if not present:
            problems.append(Problem("unlabelled", f"{files[0]} has no mask in {masks}"))
        elif len(present) < len(by_name):
            text = f"{files[0]} has masks of {len(present)} of the {len(by_name)} structures in {masks}"
            problems.append(Problem("entries", text))
        elif sorted(by_channel) != list(range(len(files))):
            text = f"{files[0]} and the files beside it are channels {sorted(by_channel)}; one is missing"
            problems.append(Problem("entries", text))
        else:
            inside = files[0].relative_to(images).parts[:-1]
            own = next((found for part in inside if (found := split_of(part))), split)
            fold = next(n for n, one in enumerate(folders) if present[0].is_relative_to(one))
            cases.append(Case(files, present, split=own, fold=fold if len(folders) > 1 else None))
    lonely = {mask for one in by_name for mask in one.values()} - used
    return cases, problems + [Problem("unlabelled", f"{mask} has no image") for mask in sorted(lonely)]
