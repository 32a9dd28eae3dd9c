"""Files that are complete or absent, whatever happens to the process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from unimiss.errors import JobError, UnimissError


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file beside `path`, flush it to the disk and rename it.

    The temporary name is hidden and ends as `path` does, for libraries that choose a format by the suffix.

    Raises
    ------
    JobError
        `save` failed, the disk is full or the folder may not be written; what stood at `path` is untouched.
    """
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # some libraries write for the owner alone
        os.replace(temporary, path)
    except UnimissError:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise JobError(f"{path} could not be written: {path.parent} is not a folder") from error
    except Exception as error:  # for a full disk every library has an exception of its own
        reason = getattr(error, "strerror", None) or error
        raise JobError(f"{path} could not be written: {reason}") from error
    finally:
        with suppress(OSError):  # the folder may be what failed
            temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that nobody else writes."""
    for part in folder.glob(".*.part.*"):
        part.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o022)  # the only way to read it is to set it
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write` does; names of files may hold bytes that are no text, which become "?"."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="replace"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON as `write` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")
