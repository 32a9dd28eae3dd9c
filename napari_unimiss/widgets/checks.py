"""What must hold of a field before a job is started; the engine checks what lies inside the files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from napari_unimiss.widgets.form import Problem
from unimiss.errors import UnimissError
from unimiss.runs import Run, State

RUNS = Path("unimiss-runs")  # in the user's home folder
_SHOWN = 120  # characters of an overlong path


_DISTINCT = {"pretrain": "objective", "finetune": "dataset"}  # settings that only one kind of run has


@contextmanager
def usable(field: str, path: Path) -> Iterator[Path]:
    """Give `path` with the user's home in it, and turn what the system says against it into a problem."""
    try:
        if "\0" in str(path):  # tests of such a path only say that there is none
            raise ValueError("it holds a character that no path may hold")
        yield path.expanduser()
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        shown = str(path) if len(str(path)) <= _SHOWN else f"{str(path)[:_SHOWN]}…"
        raise Problem(field, f"{shown} cannot be used: {reason.rstrip('.')}.") from error


def suggested_run_folder(task: str, parent: Path | None = None) -> Path:
    """Return a dated folder that does not exist yet, in `parent` or where runs usually go."""
    stem = f"{task}-{datetime.now():%Y-%m-%d-%H%M}"
    folder = (parent or Path.home() / RUNS) / stem
    count = 1
    while os.path.exists(folder):  # unlike Path.exists, never raises
        count += 1
        folder = folder.with_name(f"{stem}-{count}")
    return folder


def existing(field: str, paths: Sequence[Path]) -> list[str]:
    """Return `paths` as absolute text; each must exist."""
    found = []
    for written in paths:
        with usable(field, written) as path:
            if not path.exists():
                raise Problem(field, f"There is no {path}; check the spelling.")
            found.append(str(path.absolute()))
    return found


def folder_of_cases(field: str, path: Path | None) -> str:
    """Return a data set's folder as absolute text."""
    if path is None:
        raise Problem(field, "Choose the folder that holds the images and their masks or classes.")
    with usable(field, path) as folder:
        if not folder.is_dir():
            raise Problem(
                field,
                f"{folder} is no folder; choose the one that holds the images and their masks or classes.",
            )
        return str(folder.absolute())


def new_run_folder(field: str, path: Path | None) -> Path:
    """Return the folder for a new run; it must be free and writable."""
    if path is None:
        raise Problem(field, "Name a folder for the run; it is made if it does not exist.")
    with usable(field, path) as folder:
        folder = folder.absolute()
        if folder.exists() and not folder.is_dir():
            raise Problem(field, f"{folder} is a file; name a folder.")
        if Run(folder).exists():
            raise Problem(field, f"{folder} already holds a run; name another folder.")
        nearest = next(one for one in (folder, *folder.parents) if one.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise Problem(field, f"{nearest} may not be written by this user; choose another place.")
        return folder


def interrupted_run(path: Path | None, task: str) -> Path | None:
    """Return the folder if it holds a run of `task` that ended early, so that it can be resumed."""
    if path is None:
        return None
    try:
        run = Run(path.expanduser().absolute())
        early = run.exists() and run.state in (State.STOPPED, State.CRASHED, State.FAILED)
        return run.path if early and _DISTINCT[task] in run.config() else None
    except (OSError, RuntimeError, ValueError, UnimissError):
        return None


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
    with usable(field, path) as place:
        if not place.exists():
            raise Problem(field, f"There is no {place}; check the spelling.")
        run = Run(place)
        if run.exists() and not (run.last.exists() or run.best.exists()):
            raise Problem(
                field, f"The run in {place} has written no checkpoint yet; let it train for longer."
            )
        return str(place.absolute())
