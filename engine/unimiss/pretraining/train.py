"""Steps until the work is done: metrics, signals, probes, checkpoints, orderly stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from unimiss.data.cache import Cache
from unimiss.devices import any_process, memory_in_use, versions
from unimiss.errors import JobError
from unimiss.models.checkpoint import Checkpoint, keep_copy
from unimiss.pretraining.batch import Batch, collate
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import Pretraining
from unimiss.pretraining.order import Batches, dimension_at, steps_before
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.probe import Probe
from unimiss.pretraining.recovery import Recovery
from unimiss.pretraining.sampling import Views
from unimiss.pretraining.signals import Watch
from unimiss.runs.pace import Pace
from unimiss.runs.writer import RunWriter
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    config: PretrainConfig,
    images: list[Prepared],
    volumes: list[Prepared],
    cache: Cache,
    probe: Probe | None,
    writer: RunWriter,
    fabric: Fabric,
) -> bool:
    """Run the loop to its end, or to an orderly stop.

    Returns
    -------
    bool
        Whether all steps were done.

    Raises
    ------
    JobError
        The loss was not finite several times in a row, or there is no memory, or the views cannot be made.
        The last whole step is in a checkpoint.
    """
    training, start = _begin(config, writer, fabric)
    steps = known(config.steps)
    trainer = _Trainer(training, start, probe, writer)
    batches: Any = Batches(config, start, fabric.global_rank, fabric.world_size)
    views = Views(config, images, volumes, cache)
    loader = DataLoader(views, batch_sampler=batches, collate_fn=collate, num_workers=known(config.workers))
    try:
        for batch, waited in _timed(loader):
            if trainer.step(batch, waited) and trainer.done < steps:
                return False
    except JobError:
        trainer.save_whole_steps()
        raise
    return True


class _Trainer:
    """Does a step and all that follows from it: metrics, signals, probes, checkpoints.

    Attributes
    ----------
    done : int
        Steps that are in the weights, whatever failed after the last of them.
    """

    def __init__(self, training: Pretraining, done: int, probe: Probe | None, writer: RunWriter) -> None:
        self.training, self.done, self.probe, self.writer = training, done, probe, writer
        self.pace = Pace(done, known(training.config.steps))
        self.recovery, self.keeper = Recovery(training, writer), _Keeper(training, writer)
        self.signals = _Signals(training, writer)

    def step(self, batch: Batch, waited: float) -> bool:
        """Do the next step; say whether an end is asked for, which is then in a checkpoint."""
        began = time.perf_counter() - waited
        config, writer, fabric = self.training.config, self.writer, self.training.fabric
        steps = known(config.steps)
        values = self.training.step(self.done, batch)
        self.done = number = self.done + 1
        self.recovery.after(number, values["loss"])
        values |= self.signals.after(number, batch)
        for note in self.training.notes:
            writer.warn(note)
        self.training.notes.clear()
        whole = not self.recovery.bad
        saving = whole and (number == steps or number % known(config.checkpoint_every) == 0)
        if saving and self.probe is not None:
            values |= self.training.probe(self.probe)
        values["images_per_s"] = fabric.world_size * len(batch) / (time.perf_counter() - began)
        writer.metrics(number, {**values, "waiting_s": waited, "memory_gib": memory_in_use()})
        remaining = self.pace.remaining(number)
        writer.progress(number / steps, stage="pre-training", step=number, steps=steps, remaining_s=remaining)
        stopping = any_process(fabric, writer.should_stop())
        if saving or (stopping and whole):
            self.keeper.save(number)
            self.recovery.saved()
        self.keeper.save_if_best(number, values.get("probe_linear", 0.0))
        return stopping

    def save_whole_steps(self) -> None:
        """Keep what was done before a failure."""
        if self.done and not self.recovery.bad:
            self.keeper.save(self.done)


def _begin(config: PretrainConfig, writer: RunWriter, fabric: Fabric) -> tuple[Pretraining, int]:
    """Make the training, or take it up where the run folder left it; also count the steps done."""
    resumed = writer.run.last.exists()
    training = Pretraining(config, fabric, resumed)
    if training.transferred is not None:
        writer.event("progress", done=0.0, stage=f"weights: {training.transferred}")
    if not resumed:
        return training, 0
    start = training.restore(Checkpoint.load(writer.run.last))
    writer.forget_after(start)
    return training, start


def _timed(loader: DataLoader[Any]) -> Iterator[tuple[Batch, float]]:
    """Give every batch with the seconds that were spent waiting for it."""
    asked = time.perf_counter()
    try:
        for batch in loader:
            yield batch, time.perf_counter() - asked
            asked = time.perf_counter()
    except JobError as error:  # one of a worker process comes with its traceback
        raise JobError(str(error).rsplit("JobError: ", 1)[-1].strip()) from error
    except RuntimeError as error:  # so torch says that a process of its was killed
        if "DataLoader worker" not in str(error):
            raise
        raise JobError(
            "a process that prepares views was killed, perhaps for its memory; "
            "go on with --resume --set workers=0"
        ) from error


class _Signals:
    """Looks at teacher and features every so many steps of each dimension."""

    def __init__(self, training: Pretraining, writer: RunWriter) -> None:
        self.training, self.writer = training, writer
        self._watches = {2: Watch(), 3: Watch()}

    def after(self, done: int, batch: Batch) -> dict[str, float]:
        """Measure what there is to measure after a step, counted from 1; names end in the dimension."""
        config = self.training.config
        dimension = dimension_at(done - 1, config)
        turn = steps_before(done, dimension, config)
        if turn % config.signals_every and done < known(config.steps):
            return {}
        found = self.training.signals(batch)
        watch = self._watches[dimension]
        for warning in watch.warnings(turn, found, known(config.outputs)):
            self.writer.warn(f"step {done}, {dimension}D: {warning}")
        return {f"{name}_{dimension}d": value for name, value in found.items()}


class _Keeper:
    """Writes checkpoints: the last, the best, and as many of those before as are wanted."""

    def __init__(self, training: Pretraining, writer: RunWriter) -> None:
        self.training, self.writer = training, writer
        self._provenance = {"versions": versions(), "seed": training.config.seed}
        self._best = max((values.get("probe_linear", 0.0) for values in writer.run.metrics()), default=0.0)

    def save(self, step: int) -> None:
        if not self.writer.active:
            return
        last = self.writer.run.last
        self.training.checkpoint(step, self._provenance).save(last)
        keep_copy(last, step, self.training.config.keep_checkpoints)
        self.writer.event("checkpoint", step=step, path=str(Path("checkpoints") / last.name))

    def save_if_best(self, step: int, auc: float) -> None:
        """Keep the backbone where its linear probe is better than any before."""
        if auc <= self._best:
            return
        self._best = auc
        if not self.writer.active:
            return
        best, model = self.writer.run.best, self.training.checkpoint(step, self._provenance)
        weights = {name: t for name, t in model.tensors.items() if name.startswith("network.")}
        Checkpoint(model.description, weights).save(best)
        path = str(Path("checkpoints") / best.name)
        self.writer.event("checkpoint", step=step, path=path, probe_linear=auc)
