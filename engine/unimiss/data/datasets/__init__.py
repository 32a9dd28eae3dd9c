"""Labelled data sets as people have them: Decathlon and nnU-Net folders, or images beside masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from unimiss.data.cases import Case, find_images, stem
from unimiss.data.datasets.dataset import Dataset, Kind
from unimiss.errors import InputError
from unimiss.io import Image, read, suffix_of

__all__ = ["Dataset", "Kind", "find_label_values", "mask_values", "read_dataset"]

_IMAGE_FOLDERS = ("imagesTr", "images")
_HIGHEST = 65535
_MOST_CLASSES = 255
_LABEL_FOLDERS = ("labelsTr", "masks", "labels")


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
    return Dataset(folder.resolve().name, "segmentation", tuple(cases), _labels(described, meta) or {})


def find_label_values(cases: tuple[Case, ...]) -> dict[int, str]:
    """Look into all masks for the values they hold; names are the numbers.

    Raises
    ------
    InputError
        There are more values than a mask has classes: these are images.
    """
    values: set[int] = {0}
    for case in cases:
        if not case.masks:
            continue
        try:
            values |= mask_values(read(case.masks[0]))
        except InputError:
            continue  # preparing the case names it
    return _checked({value: str(value) for value in values}, "the masks")


def mask_values(mask: Image) -> set[int]:
    """Return the label values of a mask.

    Raises
    ------
    InputError
        It holds something other than whole numbers from 0 to 65535.
    """
    found = np.unique(mask.array)
    if (
        not np.isfinite(found).all()
        or (found != np.rint(found)).any()
        or found[0] < 0
        or found[-1] > _HIGHEST
    ):
        path = mask.provenance.path if mask.provenance else None
        raise InputError(f"{path or 'the mask'} is no mask: it needs whole numbers from 0 to {_HIGHEST}")
    return {int(value) for value in found}


def _checked(labels: dict[int, str], source: object) -> dict[int, str]:
    """Sort labels, background first, and refuse what a mask cannot hold."""
    wrong = [value for value in labels if not 0 <= value <= _HIGHEST]
    if wrong:
        raise InputError(f"{source}: label values go from 0 to {_HIGHEST}, found {wrong[0]}")
    if len(labels) > _MOST_CLASSES:
        raise InputError(f"{source}: {len(labels)} label values are more than {_MOST_CLASSES} classes")
    return dict(sorted({0: "background", **labels}.items()))


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
    if entries is None:
        return None
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path}: 'labels' must map values to names, or names to values")
    try:
        if all(str(key).lstrip("-").isdigit() for key in entries):  # Decathlon: value to name
            labels = {int(key): str(name) for key, name in entries.items()}
        else:  # nnU-Net v2: name to value
            labels = {int(value): str(name) for name, value in entries.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: 'labels' must map values to names or names to single values") from error
    return _checked(labels, path)


def _listed(folder: Path, entries: list[Any]) -> list[Case]:
    cases = []
    for entry in entries:
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise InputError(f"{folder / 'dataset.json'}: each entry of 'training' needs 'image' and 'label'")
        cases.append(Case((folder / str(entry["image"]),), (folder / str(entry["label"]),)))
    if not any(case.image.exists() for case in cases):
        raise InputError(
            f"{folder / 'dataset.json'} names {len(cases)} cases, and none of their files exists"
        )
    return cases  # preparing them names those that are missing


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
        if stem(image).endswith("_0001") and image.with_name(image.name.replace("_0001", "_0000")).exists():
            raise InputError(f"{folder} has several modalities a case ({image.name}); one can be used")
        mask = by_name.get(stem(image)) or by_name.get(stem(image).removesuffix("_0000"))  # nnU-Net's channel
        if mask is not None:
            cases.append(Case((image,), (mask,)))
    return cases
