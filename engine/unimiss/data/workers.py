"""Processes that do independent pieces of work, and may die of one without taking anything else with them.

Each is a fresh interpreter that reads pickled calls from one pipe and answers on another. Unlike those of the
standard library's pools it may be started by a daemon and from a script without a main guard, its caller
knows which piece killed it, and it ends as soon as its caller is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from unimiss.errors import JobError, UnimissError

Work = Callable[[], Any]
Outcome = tuple[int, Any]
Outcomes = Generator[Outcome | None, None, None]

_PATIENCE = 1.0  # seconds after which whoever waits may do something else
# The processes share the cores already, and on a GPU each would hold half a GiB before it did anything.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


class Died(Exception):
    """The process that did a piece of work ended without an answer; the text says how."""


def outcomes(works: Sequence[Work], processes: int) -> Outcomes:
    """Do every piece of work in one of several new processes.

    A piece whose process dies gets a second chance when all others are done, alone: what killed it may have
    been the memory that all needed together.

    Parameters
    ----------
    works : sequence of callable
        Without arguments; picklable, as is what they return.
    processes : int
        How many at most; each holds one piece at a time.

    Yields
    ------
    tuple of int and object, or None
        Place of a piece, and what it returned or the exception that it raised, or `Died`; in the order in
        which they end. None about once a second while nothing ends. Closing the generator kills the
        processes at once.

    Raises
    ------
    JobError
        No process can be started.
    """
    died = []
    with closing(_round(works, processes)) as first:
        for outcome in first:
            if outcome is not None and isinstance(outcome[1], Died):
                died.append(outcome[0])
            else:
                yield outcome
    with closing(_round([works[place] for place in died], 1)) as second:
        for outcome in second:
            yield outcome and (died[outcome[0]], outcome[1])


def _round(works: Sequence[Work], processes: int) -> Outcomes:
    todo: SimpleQueue[int] = SimpleQueue()
    found: SimpleQueue[Outcome] = SimpleQueue()
    for place in range(len(works)):
        todo.put(place)

    def serve(worker: _Worker) -> None:
        with suppress(Empty):
            while True:
                place = todo.get_nowait()
                try:
                    answer = worker.do(works[place])
                except Exception as error:  # it cannot be pickled: whoever waits for it has to hear that
                    answer = error
                found.put((place, answer))

    started = threading.Event()
    crew = [_Worker(started) for _ in range(min(processes, len(works)))]
    try:
        for worker in crew:
            threading.Thread(target=serve, args=(worker,), daemon=True).start()
        left = len(works)
        while left:
            try:
                place, answer = found.get(timeout=_PATIENCE)
            except Empty:
                yield None
                continue
            if isinstance(answer, _NoProcess):
                raise JobError(f"no process could be started to work for this one ({answer})")
            left -= 1
            yield place, answer
    finally:
        for worker in crew:
            worker.close()


class _NoProcess(Exception):
    """There is no process to do the work, and there was none before; the text says why."""


class _Worker:
    """A process; where one dies, the next piece of work gets a new one.

    Parameters
    ----------
    started : Event
        Set as soon as any process of the crew is ready: what fails before that will always fail.
    """

    def __init__(self, started: threading.Event) -> None:
        self._started = started
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def do(self, work: Work) -> Any:
        """Return what `work` returns or raises there, `Died`, or `_NoProcess`."""
        try:
            process, fresh = self._running()
        except OSError as error:
            return self._death(str(error))
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if fresh:
                _receive(process.stdout)  # its greeting
                self._started.set()
            _send(process.stdin, work)
            return _receive(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            return self._death(_ending(self._end(process)))

    def close(self) -> None:
        """Kill the process, whatever it does, and start no other."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            self._end(process)

    def _death(self, how: str) -> Died | _NoProcess:
        return Died(how) if self._started.is_set() else _NoProcess(how)

    def _running(self) -> tuple[subprocess.Popen[bytes], bool]:
        """Return the process, and whether it was started just now."""
        with self._lock:
            if self._closed:
                raise ProcessLookupError("it is no longer wanted")
            fresh = self._process is None
            self._process = self._process or _start()
            return self._process, fresh

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        with self._lock:
            self._process = None
        process.kill()  # where it is dead already, its status stays
        return process.wait()


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
        start_new_session=sys.platform != "win32",  # Ctrl-C is for the caller, which closes it
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _ending(status: int) -> str:
    if status == -getattr(signal, "SIGKILL", 9):
        return "it was killed, as a system does that runs out of memory"
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _send(pipe: BinaryIO | Any, value: Any) -> None:
    """Send a value packed twice: the outer package is opened without importing what the inner one needs."""
    pickle.dump(pickle.dumps(value), pipe)
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> Any:
    return pickle.loads(pickle.load(pipe))


def _answer(call: bytes) -> Any:
    try:
        return pickle.loads(call)()
    except UnimissError as error:
        return error
    except Exception as error:  # a plain one, for not every exception can be pickled
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.add_note(f"In a process of {__name__}:\n{traceback.format_exc()}")
        return plain


def _listen(pipe: BinaryIO, calls: SimpleQueue[bytes]) -> None:
    """Take calls until the caller is gone; then end at once, in the middle of work."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            calls.put(pickle.load(pipe))
    os._exit(1)


def _main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, calls), daemon=True).start()
    _send(answers, "ready")
    while True:
        _send(answers, _answer(calls.get()))


if __name__ == "__main__":
    _main()
