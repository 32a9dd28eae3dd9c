"""What must hold of a field before a job is started; the engine checks what lies inside the files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from napari_unimiss.widgets.form import Problem
from unimiss.runs import Run

RUNS = Path("unimiss-runs")  # in the user's home folder


def suggested_run_folder(task: str, parent: Path | None = None) -> Path:
    """Return a dated folder that does not exist yet, in `parent` or where runs usually go."""
    stem = f"{task}-{datetime.now():%Y-%m-%d-%H%M}"
    folder = (parent or Path.home() / RUNS) / stem
    count = 1
    while folder.exists():
        count += 1
        folder = folder.with_name(f"{stem}-{count}")
    return folder


def existing(field: str, paths: Sequence[Path]) -> list[str]:
    """Return `paths` as absolute text; each must exist."""
    for path in paths:
        if not path.exists():
            raise Problem(field, f"There is no {path}; check the spelling.")
    return [str(path.absolute()) for path in paths]


def folder_of_cases(field: str, path: Path | None) -> str:
    """Return a data set's folder as absolute text."""
    if path is None:
        raise Problem(field, "Choose the folder that holds the images and their masks.")
    if not path.is_dir():
        raise Problem(field, f"{path} is no folder; choose the one that holds the images and their masks.")
    return str(path.absolute())


def new_run_folder(field: str, path: Path | None) -> Path:
    """Return the folder for a new run; it must be free and writable."""
    if path is None:
        raise Problem(field, "Name a folder for the run; it is made if it does not exist.")
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise Problem(field, f"{path} is a file; name a folder.")
    if Run(path).exists():
        raise Problem(field, f"{path} already holds a run; name another folder.")
    nearest = next(one for one in (path, *path.parents) if one.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise Problem(field, f"{nearest} may not be written by this user; choose another place.")
    return path


def more_settings(field: str, text: str) -> list[str]:
    """Return ``name=value`` pairs, parted by spaces, as options of the command."""
    try:
        pairs = shlex.split(text)
    except ValueError as error:
        raise Problem(field, "A quotation mark is not closed.") from error
    options: list[str] = []
    for pair in pairs:
        if "=" not in pair:
            raise Problem(field, f"Write {pair} as name=value; a value must not hold spaces.")
        options += ["--set", pair]
    return options


def model(field: str, path: Path | None) -> str:
    """Return a run folder with a checkpoint, or a checkpoint, as absolute text."""
    if path is None:
        raise Problem(field, "Choose the run folder of a finished training, or a checkpoint in it.")
    if not path.exists():
        raise Problem(field, f"There is no {path}; check the spelling.")
    run = Run(path)
    if run.exists() and not (run.last.exists() or run.best.exists()):
        raise Problem(field, f"The run in {path} has written no checkpoint yet; let it train for longer.")
    return str(path.absolute())
