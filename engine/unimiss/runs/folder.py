"""Reading a run folder: events, metrics, state; asking it to stop. Needs neither torch nor the process."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
import yaml

from unimiss.errors import InputError, JobError

Event = dict[str, Any]


_CLAIMING = 2.0  # seconds within which a claim is certainly written


class State(StrEnum):
    """Where a run stands."""

    NEW = "new"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"
    CRASHED = "crashed"


_ENDINGS = {"stopped": State.STOPPED, "finished": State.FINISHED, "error": State.FAILED}


class Run:
    """A run folder, followed from outside by any process.

    Parameters
    ----------
    path : path
        The run folder; it may not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.manifest_file = self.path / "manifest.json"
        self.events_file = self.path / "events.jsonl"
        self.metrics_file = self.path / "metrics.csv"
        self.process_file = self.path / "process.json"
        self.stop_file = self.path / "stop"
        self.log_file = self.path / "log.txt"
        self.last = self.path / "checkpoints" / "last"
        self.best = self.path / "checkpoints" / "best"
        self._offset = 0

    def exists(self) -> bool:
        """Whether a run got as far as having its settings and images accepted."""
        return self.config_file.exists()

    def events(self) -> Iterator[Event]:
        """All complete events from the first one; a torn last line is left out."""
        yield from _parse(self._bytes(0))

    def new_events(self) -> list[Event]:
        """Return the events that were added since this method was last called on this object."""
        data = self._bytes(self._offset)
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return list(_parse(complete))

    def metrics(self) -> list[Event]:
        """Metrics by step, ascending; events of one step are merged.

        Going back to an earlier step, as a resumed run does, drops the steps that it will do again.
        """
        found: list[Event] = []
        for event in self.events():
            if event["kind"] != "metrics" or "step" not in event:
                continue
            while found and found[-1]["step"] > event["step"]:
                found.pop()
            event = {name: math.nan if value is None else value for name, value in event.items()}
            if found and found[-1]["step"] == event["step"]:
                event = found.pop() | event
            found.append(event)
        return found

    @property
    def state(self) -> State:
        """State by the events and by whether the process lives."""
        if self.is_alive():
            return State.RUNNING
        state = State.NEW
        for event in self.events():
            if event["kind"] == "started":
                state = State.CRASHED  # until an ending says otherwise
            elif event["kind"] in _ENDINGS:
                state = _ENDINGS[event["kind"]]
        return state

    def process(self) -> psutil.Process | None:
        """Return the process that writes this run, if it lives on this machine."""
        record = self._record()
        if record is None or record["host"] != socket.gethostname():
            return None
        try:
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["started"]) < 2  # else the number was given out again
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """Whether the run's process lives; on another machine, whether it has not said that it ended."""
        record = self._record()
        if record is not None and record["host"] != socket.gethostname():
            return True  # the record is removed at every orderly end
        return self.process() is not None

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration.

        Raises
        ------
        InputError
            The folder holds no run, or its configuration is damaged.
        """
        try:
            value = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{self.path} holds no run: there is no config.yaml in it") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"{self.config_file} is damaged and cannot be read as YAML") from error
        if not isinstance(value, dict):
            raise InputError(f"{self.config_file} is damaged: it holds no settings")
        return value

    def manifest(self) -> dict[str, Any]:
        """Cases, hashes, splits, versions and seed of the run.

        Raises
        ------
        InputError
            The manifest is missing or damaged.
        """
        try:
            return dict(json.loads(self.manifest_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.manifest_file} is missing or damaged") from error

    def stop(self) -> None:
        """Ask the run to write a checkpoint and end; it obeys within one step.

        Raises
        ------
        JobError
            The request cannot be left in the folder.
        """
        try:
            self.stop_file.touch()
        except OSError as error:
            raise JobError(f"{self.stop_file} could not be written: {error.strerror}") from error

    def claim(self) -> None:
        """Make the folder and record this process as the run's only writer.

        A request to stop that came since this process was started is kept.

        Raises
        ------
        InputError
            Another process is writing this run, or the folder cannot be written.
        """
        claimed = self.process_file.exists()
        if self.is_alive() or (claimed and self._is_torn()):
            raise self._taken()
        me = psutil.Process()
        record = {"pid": me.pid, "started": me.create_time(), "host": socket.gethostname()}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if claimed:
                self.process_file.unlink(missing_ok=True)
            if self.stop_file.exists() and self.stop_file.stat().st_mtime < me.create_time():
                self.stop_file.unlink()
            with open(self.process_file, "x", encoding="utf-8") as file:  # of two at once, one succeeds
                json.dump(record, file)
        except OSError as error:
            if self.process_file.exists():
                raise self._taken() from error
            reason = "it is a file" if self.path.is_file() else error.strerror
            raise InputError(f"{self.path}: the run folder cannot be written ({reason})") from error

    def release(self) -> None:
        """Record that no process writes this run any more."""
        with suppress(OSError):  # a record that stays is seen to be stale once the process ended
            self.process_file.unlink(missing_ok=True)
            self.stop_file.unlink(missing_ok=True)

    def _record(self) -> dict[str, Any] | None:
        """Return who claimed the run: pid, start time of that process, host; None where nobody did."""
        try:
            record = json.loads(self.process_file.read_text(encoding="utf-8"))
            return {
                "pid": int(record["pid"]),
                "started": float(record["started"]),
                "host": str(record["host"]),
            }
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _is_torn(self) -> bool:
        """Whether another process seems to be writing its claim at this moment."""
        with suppress(OSError):
            return self._record() is None and time.time() - self.process_file.stat().st_mtime < _CLAIMING
        return False

    def _taken(self) -> InputError:
        holder = self._record() or {"pid": "?", "host": "?"}
        return InputError(
            f"{self.path}: process {holder['pid']} on {holder['host']} is writing this run; stop it first, "
            f"or delete {self.process_file.name} if it runs no more"
        )

    def _bytes(self, offset: int) -> bytes:
        try:
            with open(self.events_file, "rb") as file:
                file.seek(offset)
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            raise InputError(f"{self.events_file} cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> Iterator[Event]:
    for line in data.split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # torn by a crash and then continued by a writer that did not repair it
        if isinstance(event, dict) and "kind" in event:
            yield event
