"""Steps until the work is done: signals, probes, checkpoints, orderly stops, a way back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader

from unimiss.data.cache import Cache
from unimiss.devices import memory_in_use, refuse_uneven, versions
from unimiss.errors import JobError
from unimiss.models.checkpoint import Checkpoint, keep_copy
from unimiss.pretraining.batch import collate
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import Pretraining
from unimiss.pretraining.order import Batches
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.probe import Probe
from unimiss.pretraining.sampling import Views
from unimiss.pretraining.signals import Watch
from unimiss.runs.pace import Pace
from unimiss.runs.writer import RunWriter
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TOLERATED_BAD_STEPS = 3


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
    training = Pretraining(config, fabric, writer.run.last.exists())
    if training.transferred is not None:
        writer.event("progress", done=0.0, stage=f"weights: {training.transferred}")
    provenance = {"versions": versions(), "seed": config.seed}
    start = 0
    if writer.run.last.exists():
        start = training.restore(Checkpoint.load(writer.run.last))
        writer.forget_after(start)
    steps, every = known(config.steps), known(config.checkpoint_every)
    views = Views(config, images, volumes, cache)
    batches: Any = Batches(config, start, fabric.global_rank, fabric.world_size)
    loader = DataLoader(views, batch_sampler=batches, collate_fn=collate, num_workers=known(config.workers))
    probe = None
    if config.probe is not None:
        probe = Probe.read(config.probe, known(config.size_2d), config.holdout, writer.warn)
    best = max((values.get("probe_linear", 0.0) for values in writer.run.metrics()), default=0.0)
    pace, watch, bad, returned = Pace(start, steps), Watch(), 0, False
    waiting = time.perf_counter()
    for step, batch in enumerate(loader, start):
        began = time.perf_counter()
        values = training.step(step, batch)
        done = step + 1
        if np.isfinite(values["loss"]):
            bad = 0
        else:
            bad += 1
            writer.warn(f"the loss of step {done} is not finite; the step was left out")
            if bad == _TOLERATED_BAD_STEPS and (returned or not writer.run.last.exists()):
                raise JobError(
                    f"the loss was not finite in {bad} steps up to step {done}; "
                    "go on from the last checkpoint with a lower learning rate (--set lr=…)"
                )
            if bad == _TOLERATED_BAD_STEPS:
                back = training.restore(Checkpoint.load(writer.run.last))
                writer.warn(
                    f"the weights of step {back} are back; they go on with the images after step {done}"
                )
                bad, returned = 0, True
        for note in training.notes:
            writer.warn(note)
        training.notes.clear()
        if done % config.signals_every == 0 or done == steps:
            signals = training.signals(batch)
            values |= signals
            for warning in watch.warnings(done, signals, known(config.outputs)):
                writer.warn(warning)
        saving = not bad and (done == steps or done % every == 0)
        if saving and probe is not None:
            values |= training.probe(probe)
        ended = time.perf_counter()
        pace_values = {"images_per_s": len(batch) / (ended - waiting), "waiting_s": began - waiting}
        writer.metrics(done, {**values, **pace_values, "memory_gib": memory_in_use()})
        waiting = ended
        writer.progress(
            done / steps, stage="pre-training", step=done, steps=steps, remaining_s=pace.remaining(done)
        )
        stopping = fabric.broadcast(writer.should_stop())
        if saving or (stopping and not bad):
            _save(training, writer, done, provenance)
        if values.get("probe_linear", 0.0) > best:
            best = values["probe_linear"]
            _save_best(training, writer, done, provenance, best)
        if stopping and done < steps:
            return False
    return True


def _save(training: Pretraining, writer: RunWriter, step: int, provenance: Mapping[str, Any]) -> None:
    if not writer.active:
        return
    training.checkpoint(step, provenance).save(writer.run.last)
    keep_copy(writer.run.last, step, training.config.keep_checkpoints)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.last.name))


def _save_best(
    training: Pretraining, writer: RunWriter, step: int, provenance: Mapping[str, Any], auc: float
) -> None:
    if not writer.active:
        return
    model = training.checkpoint(step, provenance)
    weights = {name: t for name, t in model.tensors.items() if name.startswith("network.")}
    Checkpoint(model.description, weights).save(writer.run.best)
    path = str(Path("checkpoints") / writer.run.best.name)
    writer.event("checkpoint", step=step, path=path, probe_linear=auc)
