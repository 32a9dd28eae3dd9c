"""What is done about losses that are not finite: leave the step out, go back, then give up."""

from __future__ import annotations

import math

from unimiss.errors import JobError
from unimiss.models.checkpoint import Checkpoint
from unimiss.pretraining.loop import Pretraining
from unimiss.runs.writer import RunWriter

_TOLERATED = 3  # steps in a row


class Recovery:
    """The state of a run in which some losses are not finite.

    Parameters
    ----------
    training : Pretraining
        Brought back to the last checkpoint where steps in a row are bad.
    writer : RunWriter
        Tells what happens.

    Attributes
    ----------
    bad : int
        Steps up to the last one that were left out; a checkpoint waits until there are none.
    """

    def __init__(self, training: Pretraining, writer: RunWriter) -> None:
        self.training, self.writer = training, writer
        self.bad = 0
        self._returned = False

    def saved(self) -> None:
        """Take note of a checkpoint: whatever goes wrong later is another incident."""
        self._returned = False

    def after(self, done: int, loss: float) -> None:
        """Take note of a step, counted from 1.

        Raises
        ------
        JobError
            Losses stay bad after a return to the last checkpoint, or there is none.
        """
        if math.isfinite(loss):
            self.bad = 0
            return
        self.bad += 1
        self.writer.warn(f"the loss of step {done} is not finite; the step was left out")
        if self.bad < _TOLERATED:
            return
        last = self.writer.run.last
        if self._returned or not last.exists():
            raise JobError(
                f"the loss was not finite in {self.bad} steps up to step {done}; "
                "go on from the last checkpoint with a lower learning rate (--set lr=…)"
            )
        back = self.training.restore(Checkpoint.load(last))
        self.writer.warn(f"the weights of step {back} are back; they go on with the images after step {done}")
        self.bad, self._returned = 0, True
