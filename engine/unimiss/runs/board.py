"""TensorBoard's files, written in step with the run.

PyTorch's `SummaryWriter` writes from a thread of its own, whose failures on a full disk end in a traceback.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path


class Board:
    """One TensorBoard file of scalars in a run folder.

    Parameters
    ----------
    folder : path
        The run folder.
    step : int
        First step that will be recorded; what other files in the folder say from it on is void.

    Raises
    ------
    OSError
        The file cannot be written; also from `add`.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._make_event = event_pb2.Event
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(folder / name, "xb", buffering=0)  # noqa: SIM115 - open as long as the run is
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=step, session_log={"status": event_pb2.SessionLog.START})

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of one step."""
        scalars = [{"tag": name, "simple_value": value} for name, value in values.items()]
        self._write(step=step, summary={"value": scalars})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **fields: object) -> None:
        self._records.write(self._make_event(wall_time=time.time(), **fields).SerializeToString())
