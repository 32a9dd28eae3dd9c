"""Steps until the work, or the time, is done: validation, checkpoints, orderly stops."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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


@dataclass
class Standing:
    """Where a training stands: with the weights, all that a resumed run goes on from.

    Every last checkpoint has it, and nothing else is asked for it; so whatever was written after that
    checkpoint, the best model too, is written once more, and the same.

    Attributes
    ----------
    step : int
        Steps done.
    elapsed : float
        Seconds spent.
    best, best_step : float, int
        Best figure so far, and when it was reached; below 0 before the first validation.
    in_vain : int
        Validations in a row without a better figure.
    unvalidated : dict of str to float, optional
        Numbers of the last step, where a validation is due after it that is not over.
    """

    step: int = 0
    elapsed: float = 0.0
    best: float = -1.0
    best_step: int = 0
    in_vain: int = 0
    unvalidated: dict[str, float] | None = None

    @classmethod
    def of(cls, saved: Checkpoint) -> Standing:
        """Return what a checkpoint says."""
        told = {**saved.description.training, "step": saved.description.step}
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told})


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
    trainer = _Trainer(training, writer)
    at = trainer.at
    stopped_short = at.best < 0 and trainer.is_over  # by fewer steps or minutes than it began with
    if at.unvalidated is not None or stopped_short:
        trainer.validate()
    elif trainer.in_vain:
        writer.warn(f"this run has ended early; with a patience of more than {at.in_vain} it goes on")
    while not trainer.is_over:
        if trainer.step():
            return None
    if trainer.progress >= 1:
        return "fine-tuned"
    writer.progress(1.0, stage="fine-tuning", step=at.step, remaining_s=0.0)
    return (
        f"fine-tuned, and ended early at step {at.step}: no better {training.task.metric} in {at.in_vain} "
        f"validations in a row; the best, {at.best:.3f}, was at step {at.best_step}"
    )


class _Trainer:
    """Does a step and all that follows from it: metrics, validation, checkpoints.

    A checkpoint stands before and after each validation, so that a run that is killed in one does it again,
    with the same weights. Several processes do the same: clock and figures are those of the first.

    Attributes
    ----------
    progress : float
        Share of the training that is over.
    """

    def __init__(self, training: Finetuning, writer: RunWriter) -> None:
        config = training.config
        self.training, self.writer, self.at = training, writer, Standing()
        if writer.run.last.exists():
            saved = Checkpoint.load(writer.run.last)
            training.restore(saved)
            self.at = Standing.of(saved)
            writer.forget_after(self.at.step - (self.at.unvalidated is not None))
        training.fabric.barrier()  # nobody writes a checkpoint before all have read it
        self.clock = Clock(None if config.steps == "auto" else config.steps, config.minutes, self.at.elapsed)
        self._bad = 0
        self._look_at_clock()
        self._validate_at = next_validation(config, self.progress)

    @property
    def in_vain(self) -> bool:
        """Whether the figure got no better for as long as the settings wait."""
        patience = self.training.config.patience
        return patience is not None and self.at.in_vain >= patience

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do; a step is done in any case, and one made up that was left out."""
        return (self.progress >= 1 and self.at.step > 0 and not self._bad) or self.in_vain

    def step(self) -> bool:
        """Do the next step; say whether an end was asked for before the work was done."""
        at, writer = self.at, self.writer
        values = self.training.step(at.step, self.progress)
        at.step += 1
        self._count_bad(values["loss"])
        self._look_at_clock()
        stopping = any_process(self.training.fabric, writer.should_stop())
        due = self.progress >= self._validate_at and not self._bad
        at.unvalidated = values if due else None
        if due and not stopping:
            self._save()
            self.validate()
            return False
        self._record(values)
        if not self._bad and (stopping or at.step % known(self.training.config.checkpoint_every) == 0):
            self._save()
        return stopping

    def validate(self) -> None:
        """Validate after a step, and keep the model if it is the best so far."""
        at, training = self.at, self.training
        self._tell("validating")
        figures = training.validate(lambda share: self.writer.refuse_to_go_on())
        figures = training.fabric.broadcast(figures)
        self._keep_best(figures[training.task.metric])
        self._look_at_clock()
        self._validate_at = next_validation(training.config, self.progress)
        self._record({**(at.unvalidated or {}), **figures})
        at.unvalidated = None
        self._save()

    def _count_bad(self, loss: float) -> None:
        step, writer = self.at.step, self.writer
        self._bad = 0 if np.isfinite(loss) else self._bad + 1
        if self._bad:
            writer.warn(f"the loss of step {step} is not finite; the step was left out")
        if self._bad == _TOLERATED_BAD_STEPS:
            begin = "go on from the last checkpoint" if writer.run.last.exists() else "begin again"
            raise JobError(
                f"the loss was not finite in {self._bad} steps up to step {step}; "
                f"{begin} with a lower learning rate"
            )

    def _keep_best(self, reached: float) -> None:
        at, writer = self.at, self.writer
        better = reached > at.best
        at.in_vain = 0 if better else at.in_vain + 1
        if reached < at.best:
            return
        at.best = reached  # of equals the last one is kept, which has learned longest
        at.best_step = at.step if better else at.best_step
        if writer.active:
            figure = {self.training.task.metric: reached}
            self.training.model(at.step, figure).save(writer.run.best)
            self._tell_checkpoint(writer.run.best, figure)

    def _save(self) -> None:
        self.at.elapsed = self.clock.elapsed
        if self.writer.active:
            self.training.checkpoint(self.at.step, asdict(self.at)).save(self.writer.run.last)
            self._tell_checkpoint(self.writer.run.last, {})

    def _look_at_clock(self) -> None:
        self.progress: float = self.training.fabric.broadcast(self.clock.progress(self.at.step))

    def _record(self, values: Mapping[str, float]) -> None:
        self.writer.metrics(self.at.step, values)
        self._tell("fine-tuning")

    def _tell(self, stage: str) -> None:
        remaining = self.clock.remaining(self.progress)
        self.writer.progress(self.progress, stage=stage, step=self.at.step, remaining_s=remaining)

    def _tell_checkpoint(self, path: Path, figure: Mapping[str, float]) -> None:
        self.writer.event(
            "checkpoint", step=self.at.step, path=str(Path("checkpoints") / path.name), **figure
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
        shares = [_FIRST_VALIDATION + number * gap for number in range(count - 1)]
    return next((share for share in shares if share > progress), 1.0)
