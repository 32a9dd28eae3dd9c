"""``dataset.json`` of the Medical Segmentation Decathlon and of nnU-Net v2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from unimiss.data.cases import Case, find_images, stem
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.folders import IMAGE_FOLDERS, MASK_FOLDERS, first_of, masks_by_name, pairs
from unimiss.data.datasets.labels import overlap, parse_labels
from unimiss.data.datasets.layout import masked
from unimiss.data.datasets.problems import Problem
from unimiss.errors import InputError
from unimiss.io import IMAGE_SUFFIXES, suffix_of

FILE = "dataset.json"


def read_described(file: Path) -> Dataset:
    """Read the data set that a ``dataset.json`` describes.

    Its cases are those that it lists (``training`` of the Decathlon, ``dataset`` of nnU-Net), else the
    images of ``imagesTr`` that have a mask of their name in ``labelsTr``; ``_0000``, ``_0001`` … number the
    modalities.

    Raises
    ------
    InputError
        The file cannot be understood.
    """
    meta = _load(file)
    folder = file.resolve().parent
    channels = _channels(meta, file)
    training, table = meta.get("training"), meta.get("dataset")
    if isinstance(training, list) and training:
        cases, problems = _listed(file, training, channels)
    elif isinstance(table, dict):
        cases, problems = _listed(file, list(table.values()), channels)
    else:
        cases, problems = _matched(folder, _ending(meta, file), channels)
    found = masked(folder.name, cases, problems)
    if "labels" in meta:
        labels, values = parse_labels(meta["labels"], file)
        found = replace(found, labels=labels, values=values, overlapping=overlap(values.values()))
    return replace(found, channels=channels)


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold an object with 'labels' and 'training'")
    return value


def _channels(meta: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Names of the channels: ``channel_names`` of nnU-Net, ``modality`` of the Decathlon."""
    names = meta.get("channel_names") or meta.get("modality") or {}
    if not isinstance(names, dict) or sorted(names) != sorted(str(n) for n in range(len(names))):
        raise InputError(f"{file}: 'channel_names' must map 0, 1, … to names, found {names}")
    return tuple(str(names[str(n)]) for n in range(len(names)))


def _ending(meta: dict[str, Any], file: Path) -> str:
    ending = str(meta.get("file_ending", ""))
    if ending and not suffix_of(ending):
        raise InputError(
            f"{file}: images that end with {ending!r} cannot be read; use {', '.join(IMAGE_SUFFIXES)}"
        )
    return ending


def _listed(file: Path, entries: list[Any], channels: tuple[str, ...]) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for number, entry in enumerate(entries, start=1):
        images = _texts(entry, "image") or _texts(entry, "images")
        masks = _texts(entry, "label")
        if not images or not masks:
            text = f"{file}: entry {number} of its cases needs 'image' and 'label', found {str(entry)[:80]}"
            problems.append(Problem("entries", text))
            continue
        paths = [file.parent / image for image in images]
        if len(paths) == 1 and not paths[0].exists():
            paths = _numbered(paths[0], len(channels)) or paths
        fold = entry.get("fold")
        cases.append(
            Case(
                tuple(paths),
                tuple(file.parent / mask for mask in masks),
                fold=fold if isinstance(fold, int) else None,
            )
        )
    return cases, problems


def _texts(entry: Any, name: str) -> list[str]:
    """Text or texts under a name."""
    value = entry.get(name) if isinstance(entry, dict) else None
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def _numbered(path: Path, count: int) -> list[Path]:
    """Files of the modalities of ``case.nii.gz``, which nnU-Net v1 listed without their numbers."""
    suffix = suffix_of(path)
    name = path.name.removesuffix(suffix)
    files = [path.with_name(f"{name}_{number:04d}{suffix}") for number in range(max(count, 1))]
    return files if files[0].exists() else []


def _matched(folder: Path, ending: str, channels: tuple[str, ...]) -> tuple[list[Case], list[Problem]]:
    images, labels = first_of(folder, IMAGE_FOLDERS), first_of(folder, MASK_FOLDERS)
    if images is None or labels is None:
        raise InputError(f"{folder / FILE} lists no cases, and there are no imagesTr and labelsTr beside it")
    inside = find_images([images])
    files = [path for path in inside if path.name.endswith(ending)]
    if not files:
        suffixes = ", ".join(sorted({suffix_of(path) or "no suffix" for path in inside}))
        raise InputError(
            f"{folder / FILE}: 'file_ending' is {ending!r}, and no image in {images} ends so: "
            f"they have {suffixes}"
        )
    cases, problems = [], []
    for by_channel, found in pairs(files, images, [masks_by_name(labels)]):
        first = by_channel[min(by_channel)]
        wanted = len(channels) if channels and not _is_alone(by_channel, found) else len(by_channel)
        if not found:
            problems.append(Problem("unlabelled", f"{first} has no mask in {labels}"))
        elif sorted(by_channel) != list(range(wanted)):
            text = f"{first} and the files beside it are channels {sorted(by_channel)}; {wanted} are needed"
            problems.append(Problem("entries", text))
        else:
            cases.append(Case(tuple(by_channel[n] for n in range(wanted)), found))
    return cases, problems


def _is_alone(by_channel: dict[int, Path], masks: tuple[Path, ...]) -> bool:
    """Whether a case is one file of its mask's name, which holds all channels, as in the Decathlon."""
    return len(by_channel) == 1 and bool(masks) and stem(by_channel[min(by_channel)]) == stem(masks[0])
