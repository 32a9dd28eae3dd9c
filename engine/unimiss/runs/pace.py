"""How long a job still takes."""

from __future__ import annotations

import time


class Pace:
    """Time left, from the speed since the start.

    Parameters
    ----------
    start, total : float
        Work done before now, and work in all.
    """

    def __init__(self, start: float, total: float) -> None:
        self.start = start
        self.total = total
        self._began = time.monotonic()

    def remaining(self, done: float) -> float:
        """Seconds left once `done` of the work is done."""
        elapsed = time.monotonic() - self._began
        return round(elapsed / max(done - self.start, 1e-9) * (self.total - done), 1)
