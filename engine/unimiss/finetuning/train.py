"""Steps until the work, or the time, is done: validation, checkpoints, orderly stops."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unimiss.devices import any_process
from unimiss.errors import JobError
from unimiss.finetuning.loop import Finetuning
from unimiss.models.checkpoint import Checkpoint
from unimiss.runs.writer import RunWriter
from unimiss.settings import known

_FIRST_VALIDATION = 0.4  # of the training: no model is the best one before
_TOLERATED_BAD_STEPS = 3


class Clock:
    """Share of a training that is over, by steps and, where `minutes` bounds it, by time.

    Parameters
    ----------
    steps : int or None
        Steps in all; None where only time counts.
    minutes : float or None
        Wall-clock in all.
    elapsed : float
        Seconds spent before this process.
    """

    def __init__(self, steps: int | None, minutes: float | None, elapsed: float) -> None:
        self.steps = steps
        self.seconds = None if minutes is None else 60 * minutes
        self._began = time.monotonic() - elapsed

    @property
    def elapsed(self) -> float:
        """Seconds spent on the run so far."""
        return time.monotonic() - self._began

    def progress(self, step: int) -> float:
        """Share that is over once `step` steps are done."""
        shares = [step / self.steps] if self.steps else []
        if self.seconds is not None:
            shares.append(self.elapsed / self.seconds)
        return min(1.0, max(shares))

    def remaining(self, progress: float) -> float:
        """Seconds left."""
        return round(self.elapsed * (1 - progress) / max(progress, 1e-6), 1)


def train(training: Finetuning, writer: RunWriter) -> bool:
    """Run the loop to its end, or to an orderly stop.

    Returns
    -------
    bool
        Whether it came to its end.

    Raises
    ------
    JobError
        The loss was not finite several times in a row.
    """
    config, fabric = training.config, training.fabric
    step, state = 0, {"elapsed": 0.0, "best": -1.0, "validate_at": _FIRST_VALIDATION}
    if writer.run.last.exists():
        saved = Checkpoint.load(writer.run.last)
        training.restore(saved)
        step, state = saved.description.step, dict(saved.description.training)
        writer.forget_after(step)
    clock = Clock(None if config.steps == "auto" else config.steps, config.minutes, state["elapsed"])
    every, bad = known(config.checkpoint_every), 0
    progress = clock.progress(step)
    while progress < 1:
        values = training.step(step, progress)
        step += 1
        bad = 0 if np.isfinite(values["loss"]) else bad + 1
        if bad:
            writer.warn(f"the loss of step {step} is not finite; the step was left out")
        if bad == _TOLERATED_BAD_STEPS:
            raise JobError(
                f"the loss was not finite in {bad} steps up to step {step}; "
                "go on from the last checkpoint with a lower learning rate"
            )
        progress = fabric.broadcast(clock.progress(step))
        stopping = any_process(fabric, writer.should_stop())
        if progress >= min(1.0, state["validate_at"]) and not stopping:
            state["elapsed"] = clock.elapsed
            if not bad:
                _save(training, writer, step, state)  # a validation may be long, or be stopped
            writer.progress(progress, stage="validating", step=step, remaining_s=clock.remaining(progress))
            values |= training.validate(lambda share: writer.refuse_to_go_on())
            _keep_best(training, writer, step, values[training.task.metric], state)
            progress = fabric.broadcast(clock.progress(step))
            state["validate_at"] = progress + (1 - _FIRST_VALIDATION) / max(1, config.validations - 1)
        writer.metrics(step, values)
        writer.progress(progress, stage="fine-tuning", step=step, remaining_s=clock.remaining(progress))
        if not bad and (stopping or progress >= 1 or step % every == 0):
            state["elapsed"] = clock.elapsed
            _save(training, writer, step, state)
        if stopping and progress < 1:
            return False
    return True


def _keep_best(
    training: Finetuning, writer: RunWriter, step: int, reached: float, state: dict[str, Any]
) -> None:
    if reached < state["best"] or not writer.active:
        return
    state["best"] = reached
    figure = {training.task.metric: reached}
    training.model(step, figure).save(writer.run.best)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.best.name), **figure)


def _save(training: Finetuning, writer: RunWriter, step: int, state: Mapping[str, Any]) -> None:
    if not writer.active:
        return
    training.checkpoint(step, state).save(writer.run.last)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.last.name))
