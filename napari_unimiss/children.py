"""One child process that does a run, as the plugin sees it: its events, how to stop it, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from unimiss.errors import JobError
from unimiss.runs import Run, launch

Event = dict[str, Any]
_LOG_TAIL = 4000  # characters of the log that can hold the last sentence
_SPEAKERS = ("unimiss: ", "Error: ")  # how the command's own sentences begin


class Outcome(StrEnum):
    """How a job ended, for the plugin."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    LEFT = "left running"


@dataclass(frozen=True)
class Ending:
    """The end of a job.

    Attributes
    ----------
    outcome : Outcome
        Which kind of end it was.
    message : str
        One or more sentences for the user.
    result : object
        What the job was to collect, where it finished.
    doubtful : bool
        Whether the user should check something although the end was a good one.
    """

    outcome: Outcome
    message: str
    result: Any = None
    doubtful: bool = False


class Child:
    """A running ``unimiss`` command and its run folder.

    Parameters
    ----------
    arguments : sequence of str
        The command line behind ``unimiss``.
    run_folder : Path
        Where the command records its events.
    lasting : bool
        Whether it writes checkpoints, which are then spoken of at its end.
    """

    def __init__(self, arguments: Sequence[str], run_folder: Path, lasting: bool = True) -> None:
        self._lasting = lasting
        self.run = Run(run_folder)
        log = self.run.log_file
        self._log_start = log.stat().st_size if log.exists() else 0
        self.run.new_events()  # what an earlier, refused attempt left in the folder is not this run's
        self._started = False
        self._last_message = ""
        self._last_kind = ""
        self._stop_asked = False
        self.process: subprocess.Popen[bytes] = launch(arguments, log)

    def alive(self) -> bool:
        """Whether the process still runs; one that ended is also laid to rest by this."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end; say whether it came."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def new_events(self) -> list[Event]:
        """Events since the last call."""
        events = self.run.new_events()
        for event in events:
            self._last_kind = event["kind"]
            self._started = self._started or event["kind"] == "started"
            if event["kind"] in ("error", "finished"):
                self._last_message = str(event.get("message", ""))
        return events

    def stop(self) -> None:
        """Ask for a checkpoint and an orderly end; a child that has not begun its work just ends."""
        self._stop_asked = True
        if not self.alive():
            return
        if self._started:
            try:
                self.run.stop()
                return
            except JobError:
                pass  # the disk is full or the folder is gone: the signal asks for the same
        self.process.terminate()

    def kill(self) -> None:
        """End the process and everything it started, at once."""
        try:
            parent = psutil.Process(self.process.pid)
            family = [*parent.children(recursive=True), parent]
        except psutil.Error:
            family = []
        for member in family:
            try:
                member.kill()
            except psutil.Error:
                continue  # it ended by itself meanwhile
        self.wait(10)

    def end(self, grace: float) -> None:
        """Stop, wait up to `grace` seconds for the checkpoint, then make sure that nothing is left."""
        self.stop()
        if not self.wait(grace):
            self.kill()

    def leave(self) -> None:
        """Let the process go on by itself; a thread lays it to rest if this program outlives it."""
        threading.Thread(target=self.process.wait, daemon=True).start()

    def ending(self) -> Ending:
        """Say how a child that is no longer alive ended."""
        code = self.process.returncode
        if code >= 0 and self._last_kind == "stopped":
            return Ending(Outcome.STOPPED, f"Stopped.{self._kept()}")
        if code == 0:
            said = f"Finished: {self._last_message.rstrip('.')}." if self._last_message else "Finished."
            return Ending(Outcome.FINISHED, said)
        if self._stop_asked and (code < 0 or not self._started):
            return Ending(Outcome.STOPPED, f"Ended before it could finish.{self._kept()}")
        sentence = self._last_message or self._last_words()
        if code < 0 or (os.name == "nt" and code > 255):
            return Ending(Outcome.FAILED, f"{_violent_end(code)}{self._kept()}")
        return Ending(Outcome.FAILED, sentence or f"The process ended with code {code} and said nothing.")

    def _kept(self) -> str:
        if not self._lasting:
            return ""
        if self.run.last.exists():
            return (
                f" The last checkpoint is kept in {self.run.path}. "
                "To go on, choose that folder as run folder and press Resume."
            )
        return " No checkpoint had been written yet."

    def _last_words(self) -> str:
        """Return the sentences that the command wrote before it gave up."""
        try:
            with open(self.run.log_file, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - _LOG_TAIL))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if any(line.startswith("Traceback ") for line in lines):
            return f"The program failed unexpectedly ({lines[-1]}); the details are in {self.run.log_file}."
        for number in reversed(range(len(lines))):
            if lines[number].startswith(_SPEAKERS):
                lines[number] = lines[number].split(": ", 1)[1]
                return " ".join(lines[number:])
        return " ".join(lines[-3:])


def _violent_end(code: int) -> str:
    """Describe a process that something else ended, or that crashed."""
    name = ""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    if name == "SIGKILL":
        return (
            "The process was killed from outside (SIGKILL). Most often the machine ran out of memory: "
            "close other programs, or choose a smaller network."
        )
    if name in ("SIGTERM", "SIGINT", "SIGHUP"):
        return f"The process was ended from outside ({name})."
    reason = name or hex(code & 0xFFFFFFFF)
    return f"The process crashed ({reason}); this is a fault of the program or its libraries."
