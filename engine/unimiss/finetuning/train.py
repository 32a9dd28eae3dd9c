"""Steps until the work, or the time, is done: validation, checkpoints, orderly stops."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unimiss.devices import any_process
from unimiss.errors import JobError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.loop import Finetuning
from unimiss.models.checkpoint import Checkpoint
from unimiss.runs.writer import RunWriter
from unimiss.settings import known

_FIRST_VALIDATION = 0.4  # of the training: no model is the best one before, unless it may end early
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


def train(training: Finetuning, writer: RunWriter) -> str | None:
    """Run the loop to its end, early or not, or to an orderly stop.

    Returns
    -------
    str or None
        How it ended, in the past tense; None where it was stopped and may go on.

    Raises
    ------
    JobError
        The loss was not finite several times in a row.
    """
    config, fabric = training.config, training.fabric
    step, state = 0, {"elapsed": 0.0, "best": -1.0, "best_step": 0, "in_vain": 0}
    state["validate_at"] = next_validation(config, 0.0)
    if writer.run.last.exists():
        saved = Checkpoint.load(writer.run.last)
        training.restore(saved)
        step, state = saved.description.step, state | saved.description.training
        writer.forget_after(step)
    clock = Clock(None if config.steps == "auto" else config.steps, config.minutes, state["elapsed"])
    every, bad = known(config.checkpoint_every), 0
    progress = clock.progress(step)
    ending = _is_in_vain(config, state)
    while progress < 1 and not ending:
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
            ending = fabric.broadcast(_is_in_vain(config, state))
            progress = fabric.broadcast(clock.progress(step))
            state["validate_at"] = next_validation(config, progress)
        writer.metrics(step, values)
        writer.progress(progress, stage="fine-tuning", step=step, remaining_s=clock.remaining(progress))
        if not bad and (stopping or ending or progress >= 1 or step % every == 0):
            state["elapsed"] = clock.elapsed
            _save(training, writer, step, state)
        if stopping and progress < 1 and not ending:
            return None
    if not ending or progress >= 1:
        return "fine-tuned"
    writer.progress(1.0, stage="fine-tuning", step=step, remaining_s=0.0)
    return (
        f"fine-tuned, and ended early at step {step}: no better {training.task.metric} in {state['in_vain']} "
        f"validations in a row; the best, {state['best']:.3f}, was at step {state['best_step']}"
    )


def next_validation(config: FinetuneConfig, progress: float) -> float:
    """Share of the training at which the model is validated next, once that of `progress` is over.

    Even shares of the whole training where it may end early, else of its part after `_FIRST_VALIDATION`;
    either way the last one is at its end.
    """
    count = config.validations
    if config.patience is not None:
        shares = [number / count for number in range(1, count)]
    else:
        gap = (1 - _FIRST_VALIDATION) / max(1, count - 1)
        shares = [_FIRST_VALIDATION + number * gap for number in range(max(1, count - 1))]
    return next((share for share in shares if share > progress), 1.0)


def _is_in_vain(config: FinetuneConfig, state: Mapping[str, Any]) -> bool:
    """Whether the figure got no better for as long as the settings wait."""
    return config.patience is not None and state["in_vain"] >= config.patience


def _keep_best(
    training: Finetuning, writer: RunWriter, step: int, reached: float, state: dict[str, Any]
) -> None:
    better = reached > state["best"]
    state["in_vain"] = 0 if better else state["in_vain"] + 1
    if reached < state["best"]:
        return
    state["best"] = reached  # of equals the last one is kept, which has learned longest
    state["best_step"] = step if better else state["best_step"]
    if not writer.active:
        return
    figure = {training.task.metric: reached}
    training.model(step, figure).save(writer.run.best)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.best.name), **figure)


def _save(training: Finetuning, writer: RunWriter, step: int, state: Mapping[str, Any]) -> None:
    if not writer.active:
        return
    training.checkpoint(step, state).save(writer.run.last)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.last.name))
