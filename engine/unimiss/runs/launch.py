"""Starting a run as a child process of its own group, so that neither side takes the other down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unimiss.errors import InputError, JobError


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs ``unimiss`` with this very interpreter."""
    return [sys.executable, "-m", "unimiss", *arguments]


def launch(arguments: Sequence[str], log_file: Path) -> subprocess.Popen[bytes]:
    """Start ``unimiss`` with `arguments` in the background; its output goes to `log_file`.

    Raises
    ------
    InputError
        The log file cannot be written.
    JobError
        The system does not start the process.
    """
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log = open(log_file, "ab")  # noqa: SIM115 - closed below, once the child holds its own copy
    except OSError as error:
        raise InputError(f"{log_file} could not be written: {error.strerror}") from error
    with log:
        try:
            return subprocess.Popen(
                command_line(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise JobError(f"{sys.executable} could not be started: {error.strerror}") from error
