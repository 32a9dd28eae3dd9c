"""The plugin's only door to running work: starts a child process, follows it, stops it.

One job runs at a time. Its child process is followed by a napari thread worker, so the viewer stays free and
shows the job in its activity dock.
"""

from __future__ import annotations

import atexit
import functools
import threading
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication

from napari_unimiss.children import Child, Ending, Event, Outcome
from unimiss.errors import InputError, UnimissError
from unimiss.runs import validated

_POLL = 0.2  # seconds between two looks at the run folder
_BATCH = 200  # events that reach the viewer in one piece
TOO_LARGE = "There is not enough memory for this; close other programs or layers and try again."
GRACE = 30.0  # seconds for the last checkpoint when the program itself ends


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes
    ----------
    title : str
        Shown to the user, such as "Pre-training".
    arguments : sequence of str
        The command line behind ``unimiss``.
    run_folder : Path
        Where the command records its events.
    lasting : bool
        Whether its work is worth keeping: closing the viewer then asks, and it may be left running.
    prepare, collect : callable, optional
        Run in the worker's thread before the command and, where it finished, after it.
    aliases : mapping of str to str
        Replacements in what the user reads, for files that only exist during the job.
    deliver : callable, optional
        Run in the viewer's thread with what `collect` returned; what it returns is the job's ending.
    note : str
        What the user should know from the start, if not empty.
    scratch : TemporaryDirectory, optional
        Removed at the end of the job.
    """

    title: str
    arguments: Sequence[str]
    run_folder: Path
    lasting: bool = True
    prepare: Callable[[], None] | None = None
    collect: Callable[[], Any] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    deliver: Callable[[Any], Ending] | None = None
    note: str = ""
    scratch: TemporaryDirectory[str] | None = None


class Job(QObject):
    """A running order. Every signal arrives in the viewer's thread.

    Attributes
    ----------
    progress : signal of dict
        The newest ``progress`` event.
    metrics : signal of list of dict
        New ``metrics`` events, oldest first.
    log : signal of str
        A line for the user.
    ended : signal of Ending
        Sent once, last.
    viewer : weak reference, optional
        To the viewer in which it was started; docks of others do not show it.
    """

    progress = Signal(dict)
    metrics = Signal(list)
    log = Signal(str)
    ended = Signal(object)

    def __init__(self, order: Order) -> None:
        super().__init__()
        self.order = order
        self.ending: Ending | None = None
        self.viewer: weakref.ref[Any] | None = None
        self._child: Child | None = None
        self._stop_asked = threading.Event()
        self._left = threading.Event()
        self._bar = cancelable_progress(total=100, desc=order.title, leave=False)
        self._worker = create_worker(_Titled(order.title, Job._work, self))
        self._worker.yielded.connect(self._on_events)
        self._worker.returned.connect(self._settle)
        self._worker.errored.connect(self._on_error)
        self._worker.finished.connect(self._on_thread_end)

    @property
    def running(self) -> bool:
        """Whether the job has not ended yet."""
        return self.ending is None

    @property
    def child(self) -> Child | None:
        """The process, once it was started."""
        return self._child

    def begin(self) -> None:
        """Start the worker."""
        self._worker.start()

    def stop(self) -> None:
        """Ask the child to write a checkpoint and end."""
        self._stop_asked.set()
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End the child at once; what it did since its last checkpoint is lost."""
        self._stop_asked.set()
        if self._child is not None:
            self._child.stop()
            self._child.kill()

    def leave(self) -> None:
        """Stop following and let the child go on by itself."""
        self._left.set()

    def end_now(self, grace: float = GRACE) -> None:
        """Make sure that no process is left, waiting up to `grace` seconds for its checkpoint."""
        self._stop_asked.set()
        if self._child is not None and not self._left.is_set():
            self._child.end(grace)
        self._clean_up()

    def _work(self) -> Generator[list[Event], None, Ending]:
        """Run in the worker's thread; every wait in it has an end."""
        try:
            if self.order.prepare is not None:
                self.order.prepare()
            if self._stop_asked.is_set():
                return Ending(Outcome.STOPPED, "Stopped before it began.")
            self._child = child = Child(self.order.arguments, self.order.run_folder, self.order.lasting)
            if self._stop_asked.is_set():  # asked for while the process was being made
                child.stop()
            over = False
            while not over:
                if self._left.is_set():
                    child.leave()
                    return Ending(Outcome.LEFT, f"Goes on by itself in {self.order.run_folder}.")
                over = child.wait(_POLL)
                events = child.new_events()
                for first in range(0, max(1, len(events)), _BATCH):
                    yield events[first : first + _BATCH]
            ending = child.ending()
            if ending.outcome is Outcome.FINISHED and self.order.collect is not None:
                ending = replace(ending, result=self.order.collect())
            return ending
        except (UnimissError, OSError) as error:
            return Ending(Outcome.FAILED, str(error))
        except MemoryError:
            return Ending(Outcome.FAILED, TOO_LARGE)

    def _on_events(self, events: list[Event]) -> None:
        if self._bar.is_canceled and not self._stop_asked.is_set():
            self.log.emit("Stopping, as asked in the activity dock.")
            self.stop()
        for event in events:
            line = describe(event)
            if line:
                self.log.emit(self._readable(line))
        metrics = [event for event in events if event["kind"] == "metrics"]
        if metrics:
            self.metrics.emit(metrics)
        newest = next((event for event in reversed(events) if event["kind"] == "progress"), None)
        if newest is not None:
            self.progress.emit(newest | {"stage": self._readable(str(newest.get("stage") or ""))})
            # last: napari's bar lets other events in, the job's end among them
            self._bar.update(max(0, round(100 * float(newest.get("done", 0))) - self._bar.n))

    def _on_error(self, error: Exception) -> None:
        self._settle(_unexpected(error))

    def _on_thread_end(self) -> None:
        if self.ending is None:  # napari ended the worker's thread, as it does with all when a window closes
            self.end_now()
            self._settle(Ending(Outcome.STOPPED, "Stopped."))

    def _settle(self, ending: Ending) -> None:
        if self.ending is not None:
            return
        self.ending = ending  # first: what follows lets other events in, the thread's end among them
        if ending.outcome is not Outcome.LEFT:
            self.end_now(0)
        self._bar.close()
        if ending.outcome is Outcome.FINISHED and self.order.deliver is not None:
            ending = self._deliver(self.order.deliver, ending.result)
        ending = self.ending = replace(ending, message=self._readable(ending.message))
        self.log.emit(ending.message)
        self.ended.emit(ending)
        # napari keeps the worker, and with it this job, long after: images must not stay with it
        self.order = replace(self.order, prepare=None, collect=None, deliver=None)
        self.ending = replace(ending, result=None)

    def _deliver(self, deliver: Callable[[Any], Ending], result: Any) -> Ending:
        try:
            return deliver(result)
        except UnimissError as error:
            return Ending(Outcome.FAILED, str(error))
        except MemoryError:
            return Ending(Outcome.FAILED, TOO_LARGE)
        except Exception as error:  # whatever it is: somebody waits for the ending
            return _unexpected(error)

    def _readable(self, text: str) -> str:
        for name, alias in self.order.aliases.items():
            text = text.replace(name, alias)
        return text

    def _clean_up(self) -> None:
        if self.order.scratch is not None:
            self.order.scratch.cleanup()


def _unexpected(error: Exception) -> Ending:
    return Ending(Outcome.FAILED, f"The plugin failed unexpectedly ({type(error).__name__}: {error}).")


class _Titled(functools.partial[Any]):
    """A function that napari's list of running tasks shows by its title instead of its address."""

    title: str

    def __new__(cls, title: str, function: Callable[..., Any], *arguments: Any) -> _Titled:
        self = super().__new__(cls, function, *arguments)
        self.title = title
        return self

    def __str__(self) -> str:
        return f"UniMiSS: {self.title}"


_current: Job | None = None
_guarded = False


def current() -> Job | None:
    """Return the running job, or None."""
    return _current if _current is not None and _current.running else None


def refuse_if_busy() -> None:
    """Say that a job is running.

    Raises
    ------
    InputError
        One is.
    """
    busy = current()
    if busy is not None:
        raise InputError(
            f"{busy.order.title} is still running; stop it or wait for its end, then start this."
        )


def start(order: Order) -> Job:
    """Prepare a job; connect to its signals, then call `Job.begin`.

    Raises
    ------
    InputError
        Another job is running.
    """
    global _current, _guarded
    try:
        refuse_if_busy()
    except InputError:
        if order.scratch is not None:
            order.scratch.cleanup()
        raise
    if not _guarded:
        QApplication.instance().aboutToQuit.connect(end_all)
        atexit.register(end_all)  # programs that never ran the event loop
        _guarded = True
    _current = Job(order)
    return _current


def end_all(grace: float = GRACE) -> None:
    """Leave no process behind when the program ends."""
    busy = current()
    if busy is not None:
        busy.end_now(grace)


def describe(event: Event) -> str:
    """Return a line for the log, or "" for events that the progress bar and the plot show."""
    match event["kind"]:
        case "started":
            return "Goes on from its last checkpoint." if event.get("resumed") else "Started."
        case "warning":
            return f"Note: {event.get('message', '')}"
        case "checkpoint":
            return f"Checkpoint at step {event.get('step', '?')}."
        case "metrics" if reached := validated(event):
            name, value = reached
            return f"Step {event.get('step', '?')}: {name} {value:.3f} on the validation cases."
        case _:
            return ""
