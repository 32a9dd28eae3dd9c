"""Labelled data sets as people have them: Decathlon and nnU-Net folders, or images beside masks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unimiss.data.cases import Case, find_images, stem
from unimiss.errors import InputError
from unimiss.io import read, suffix_of

_IMAGE_FOLDERS = ("imagesTr", "images")
_LABEL_FOLDERS = ("labelsTr", "masks", "labels")


@dataclass(frozen=True)
class Dataset:
    """Labelled cases for segmentation.

    Attributes
    ----------
    name : str
        Of its folder.
    cases : tuple of Case
        Each with a label image.
    labels : dict of int to str or None
        Names of the label values, background included; None where no file says them.
    """

    name: str
    cases: tuple[Case, ...]
    labels: dict[int, str] | None


def read_dataset(folder: Path) -> Dataset:
    """Find the labelled cases of a folder.

    Takes a ``dataset.json`` of the Medical Segmentation Decathlon or of nnU-Net v2 (one modality), or a
    folder of images beside a folder of masks with the same file names.

    Raises
    ------
    InputError
        There is no such folder, no layout is recognised, or nothing in it is labelled.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such data set folder")
    described = folder / "dataset.json"
    meta = _load(described) if described.exists() else {}
    listed = meta.get("training")
    cases = _listed(folder, listed) if isinstance(listed, list) and listed else _matched(folder)
    if not cases:
        raise InputError(f"{folder} holds no image that has a mask of the same name")
    return Dataset(folder.resolve().name, tuple(cases), _labels(described, meta))


def find_label_values(cases: tuple[Case, ...]) -> dict[int, str]:
    """Look into up to twenty masks for the values they hold; names are the numbers."""
    values: set[int] = {0}
    for case in cases[:20]:
        if case.label is not None:
            values |= {int(value) for value in np.unique(read(case.label).array)}
    return {value: "background" if value == 0 else str(value) for value in sorted(values)}


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold an object with 'labels' and 'training'")
    return value


def _labels(path: Path, meta: dict[str, Any]) -> dict[int, str] | None:
    entries = meta.get("labels")
    if not isinstance(entries, dict) or not entries:
        return None
    try:
        if all(str(key).lstrip("-").isdigit() for key in entries):  # Decathlon: value to name
            labels = {int(key): str(name) for key, name in entries.items()}
        else:  # nnU-Net v2: name to value
            labels = {int(value): str(name) for name, value in entries.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: 'labels' must map values to names or names to single values") from error
    return dict(sorted({0: "background", **labels}.items()))


def _listed(folder: Path, entries: list[Any]) -> list[Case]:
    cases = []
    for entry in entries:
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise InputError(f"{folder / 'dataset.json'}: each entry of 'training' needs 'image' and 'label'")
        case = Case(folder / str(entry["image"]), folder / str(entry["label"]))
        missing = next((p for p in (case.image, case.label) if p and not p.exists()), None)
        if missing is None:
            cases.append(case)
    if not cases:
        raise InputError(
            f"{folder / 'dataset.json'} names {len(entries)} cases, and none of their files exists"
        )
    return cases


def _matched(folder: Path) -> list[Case]:
    images = next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in _LABEL_FOLDERS if (folder / name).is_dir()), None)
    if images is None or masks is None:
        raise InputError(
            f"{folder} is no data set that is known here: it needs imagesTr and labelsTr, or images and masks"
        )
    by_name = {stem(path): path for path in sorted(masks.iterdir()) if suffix_of(path)}
    cases = []
    for image in find_images([images]):
        mask = by_name.get(stem(image)) or by_name.get(stem(image).removesuffix("_0000"))  # nnU-Net's channel
        if mask is not None:
            cases.append(Case(image, mask))
    return cases
