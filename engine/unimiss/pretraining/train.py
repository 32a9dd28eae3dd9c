"""Steps until the work is done: metrics, signals, probes, checkpoints, orderly stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from unimiss.data.cache import Cache
from unimiss.devices import memory_in_use, refuse_uneven, versions
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
        The loss was not finite several times in a row.
    """
    refuse_uneven(config.batch_2d if config.images else 0, fabric.world_size)
    refuse_uneven(config.batch_3d if config.volumes else 0, fabric.world_size)
    training, start = _begin(config, writer, fabric)
    steps, every = known(config.steps), known(config.checkpoint_every)
    recovery, keeper, signals = (
        Recovery(training, writer),
        _Keeper(training, writer),
        _Signals(training, writer),
    )
    probe = _read_probe(config, writer)
    pace = Pace(start, steps)
    batches: Any = Batches(config, start, fabric.global_rank, fabric.world_size)
    views = Views(config, images, volumes, cache)
    loader = DataLoader(views, batch_sampler=batches, collate_fn=collate, num_workers=known(config.workers))
    for done, (batch, waited) in enumerate(_timed(loader), start + 1):
        began = time.perf_counter() - waited
        values = training.step(done - 1, batch)
        recovery.after(done, values["loss"])
        for note in training.notes:
            writer.warn(note)
        training.notes.clear()
        values |= signals.after(done, batch)
        saving = not recovery.bad and (done == steps or done % every == 0)
        if saving and probe is not None:
            values |= training.probe(probe)
        pace_values = {"images_per_s": len(batch) / (time.perf_counter() - began), "waiting_s": waited}
        writer.metrics(done, {**values, **pace_values, "memory_gib": memory_in_use()})
        writer.progress(
            done / steps, stage="pre-training", step=done, steps=steps, remaining_s=pace.remaining(done)
        )
        stopping = fabric.broadcast(writer.should_stop())
        if saving or (stopping and not recovery.bad):
            keeper.save(done)
        keeper.save_if_best(done, values.get("probe_linear", 0.0))
        if stopping and done < steps:
            return False
    return True


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


def _read_probe(config: PretrainConfig, writer: RunWriter) -> Probe | None:
    if config.probe is None:
        return None
    return Probe.read(config.probe, known(config.size_2d), config.holdout, writer.warn)


def _timed(loader: DataLoader[Any]) -> Iterator[tuple[Batch, float]]:
    """Give every batch with the seconds that were spent waiting for it."""
    asked = time.perf_counter()
    for batch in loader:
        yield batch, time.perf_counter() - asked
        asked = time.perf_counter()


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
