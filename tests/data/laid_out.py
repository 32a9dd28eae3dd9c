"""Makers of small data sets in the layouts that people have, and what their tests look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import unimiss as engine

LABELS = {"background": 0, "liver": 1, "tumour": 2}


def touch(folder: Path, *names: str) -> Path:
    """Empty files: reading a data set opens no image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def describe(folder: Path, **entries: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(entries))
    return folder


def text(folder: Path, name: str, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def shown(dataset, root):
    """Images and masks of the cases, relative to the root."""
    return [
        tuple(path.relative_to(root).as_posix() for path in (*case.images, *case.masks))
        for case in dataset.cases
    ]


def picture(path: Path, values: np.ndarray) -> None:
    array = values.astype(np.uint8)[None]
    engine.write(engine.Image(array, engine.Geometry.from_spacing(array.shape[1:], units="pixel")), path)


def problems(dataset, fault: str) -> str:
    return " ".join(problem.text for problem in dataset.problems if problem.fault == fault)
