"""A run's events on the command line: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from unimiss.runs import validated

_SECONDS_BETWEEN_LINES = 5.0


class Display:
    """Context that shows the events it is called with."""

    def __init__(self) -> None:
        self.console = Console(stderr=False, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._last_line = 0.0
        self._stage = ""
        self._loss = ""

    def __enter__(self) -> Display:
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console)
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        kind = event["kind"]
        if kind == "started":
            self._loss = ""
        elif kind == "metrics":
            self._metrics(event)
        elif kind == "progress":
            self._progress(event)
        elif kind == "warning":
            self.console.print(f"warning: {event['message']}", markup=False)
        elif kind in ("finished", "stopped"):
            self.console.print(event["message"], markup=False)

    def _metrics(self, event: dict[str, Any]) -> None:
        if "loss" in event:
            self._loss = f"loss {event['loss']:.3f}"
        reached = validated(event)
        if reached is not None:
            name, value = reached
            self.console.print(f"step {event['step']}: validation {name} {value:.3f}", markup=False)

    def _progress(self, event: dict[str, Any]) -> None:
        stage, done = event.get("stage", ""), event["done"]
        text = " ".join(part for part in (stage, self._loss) if part)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
            return
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and done < 1 and stage.split(",")[0] == self._stage:
            return
        self._last_line, self._stage = now, stage.split(",")[0]
        left = f", {event['remaining_s']:.0f} s left" if "remaining_s" in event else ""
        self.console.print(f"{done:4.0%} {text}{left}", markup=False)
