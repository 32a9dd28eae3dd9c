"""Writing a run folder from inside the training process."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import yaml

from unimiss.errors import InputError, JobError, Stopped, UnimissError
from unimiss.runs import atomic
from unimiss.runs.board import Board
from unimiss.runs.folder import Event, Run

Listener = Callable[[Event], None]


def refuse_folder(run: Run, resume: bool) -> None:
    """Say why a folder cannot be started in, or resumed.

    Raises
    ------
    InputError
        It holds a run and is not to be resumed, or the other way round.
    """
    if run.exists() and not resume:
        raise InputError(
            f"{run.path} already holds a run; add --resume to go on with it, or name another folder"
        )
    if resume and not run.exists():
        raise InputError(f"{run.path} holds no run to resume; leave --resume out to start one")


class RunWriter:
    """Context of one training: claims the folder, records what happens, notices that it should stop.

    On leaving, an error is recorded as an ``error`` event with its sentence, and the folder is released.

    Parameters
    ----------
    path : path
        The run folder.
    resume : bool
        Go on in a folder that holds a run; without it such a folder is refused.
    listener : callable, optional
        Receives every event as it is written, for a progress display.
    active : bool
        False in all but the first of several processes: they write nothing.
    """

    def __init__(
        self, path: Path | str, *, resume: bool = False, listener: Listener | None = None, active: bool = True
    ) -> None:
        self.run = Run(path)
        self.active = active
        self.resumed = resume
        self._listener = listener
        self._stop_signal = False
        self._stage = ""
        self._handlers: dict[int, Any] = {}
        self._columns: list[str] = []
        self._board: Board | None = None
        if active:
            refuse_folder(self.run, resume)

    def __enter__(self) -> RunWriter:
        if self.active:
            self.run.claim()
        try:
            if self.active:
                atomic.remove_parts(self.run.last.parent)
                for file in (self.run.events_file, self.run.metrics_file):
                    _cut_torn_line(file)
            for number in (signal.SIGTERM, signal.SIGINT):  # a terminal and a scheduler tell every process
                with suppress(ValueError):  # not the main thread: the caller stops the run by its folder
                    self._handlers[number] = signal.signal(number, self._on_signal)
            self.event("started", resumed=self.resumed, pid=os.getpid())
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            text = str(error) if isinstance(error, UnimissError) else f"{type(error).__name__}: {error}"
            with suppress(JobError):  # the disk that holds the events may be what failed
                self.event("error", message=text)
        self._leave()

    def _leave(self) -> None:
        if self._board is not None:
            self._board.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if self.active:
            self.run.release()

    def event(self, kind: str, **fields: Any) -> None:
        """Append one event and flush it.

        Raises
        ------
        JobError
            The disk is full or the file may not be written; the events before this one are intact.
        """
        if not self.active:
            return
        event: Event = {"time": time.time(), "kind": kind, **fields}
        try:
            with open(self.run.events_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(_plain(event), allow_nan=False) + "\n")
        except OSError as error:
            with suppress(JobError):
                _cut_torn_line(self.run.events_file)
            raise _unwritable(self.run.events_file, error) from error
        if self._listener is not None:
            self._listener(event)

    def warn(self, message: str) -> None:
        """Record a sentence that the user should read."""
        self.event("warning", message=message)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of one step, counted from 1, as event, CSV row and TensorBoard scalars."""
        if not self.active:
            return
        self.event("metrics", step=step, **values)
        row = {"step": step, **values}
        try:
            if not set(row) <= set(self._columns):
                self._widen_table(row)
            with open(self.run.metrics_file, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
            self._board = self._board or Board(self.run.path, step)
            self._board.add(step, values)
        except OSError as error:
            with suppress(JobError):
                _cut_torn_line(self.run.metrics_file)
            raise _unwritable(self.run.metrics_file, error) from error

    def progress(self, done: float, **fields: Any) -> None:
        """Record the finished share of the work, from 0 to 1."""
        self.event("progress", done=round(done, 4), **fields)

    def save_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration."""
        if self.active:
            atomic.write_text(self.run.config_file, yaml.safe_dump(dict(config), sort_keys=False))

    def save_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the run was made from."""
        if self.active:
            atomic.write_json(self.run.manifest_file, dict(manifest))

    def forget_after(self, step: int) -> None:
        """Drop table rows of steps that a resumed run will do again."""
        if self.active and self.run.metrics_file.exists():
            steps = ((row, row.get("step", "")) for row in self._read_table())
            self._write_table([row for row, done in steps if done.isdigit() and int(done) <= step])

    def should_stop(self) -> bool:
        """Whether the user or the system asked for an orderly end."""
        return self._stop_signal or self.run.stop_file.exists()

    def refuse_to_go_on(self) -> None:
        """Leave work that has no steps of its own, once an end is asked for.

        Raises
        ------
        Stopped
            The user or the system asked for an end.
        """
        if self.should_stop():
            raise Stopped("stopped; --resume goes on from the last checkpoint, if there was one")

    def stage(self, text: str) -> None:
        """Record what is done before the first step, once while it stays the same.

        Raises
        ------
        Stopped
            The user or the system asked for an end.
        """
        self.refuse_to_go_on()
        if text != self._stage:
            self._stage = text
            self.progress(0.0, stage=text)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_signal:
            raise KeyboardInterrupt  # asked twice: at once
        self._stop_signal = True

    def _widen_table(self, row: Mapping[str, Any]) -> None:
        rows = self._read_table() if self.run.metrics_file.exists() else []
        self._columns += [name for name in row if name not in self._columns]
        self._write_table(rows)

    def _read_table(self) -> list[dict[str, str]]:
        with open(self.run.metrics_file, newline="", encoding="utf-8", errors="replace") as file:
            table = csv.DictReader(file, restkey="", restval="")
            self._columns = list(table.fieldnames or ["step"])
            return [{name: row[name] for name in self._columns} for row in table]

    def _write_table(self, rows: list[dict[str, str]]) -> None:
        def save(temporary: Path) -> None:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, self._columns)
                table.writeheader()
                table.writerows(rows)

        atomic.write(self.run.metrics_file, save)


def _plain(event: Event) -> Event:
    """Write what is not finite as null: JSON has no such numbers, and its readers refuse a line with them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in event.items()
    }


def _cut_torn_line(path: Path) -> None:
    """Cut what a killed process or a full disk left of the last line, so that the next starts on its own."""
    try:
        if not path.exists():
            return
        with open(path, "rb+") as file:
            data = file.read()
            if data and not data.endswith(b"\n"):
                file.truncate(data.rfind(b"\n") + 1)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> JobError:
    return JobError(f"{path} could not be written: {error.strerror or error}")
