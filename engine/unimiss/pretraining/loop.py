"""The pre-training loop: views in, losses, teacher and checkpoints out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unimiss.data.cache import Cache
from unimiss.devices import average, gradients_are_finite, refuse_uneven, resolve_precision, versions
from unimiss.errors import InputError, JobError
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.optimizer import load_optimizer, optimizer_tensors
from unimiss.models.recompute import recompute
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.networks import make_objective, make_student, make_teacher
from unimiss.pretraining.objective import Learner, follow
from unimiss.pretraining.plus import PlusDistillation
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.sampling import Batch, Batches, Views, collate
from unimiss.pretraining.schedules import cosine
from unimiss.runs.pace import Pace
from unimiss.runs.writer import RunWriter
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TOLERATED_BAD_STEPS = 3


class Pretraining:
    """Everything that changes while pre-training, and one step of it.

    Parameters
    ----------
    config : PretrainConfig
        Resolved.
    fabric : Fabric
        Device and processes.
    resumed : bool
        Whether a checkpoint will replace the first weights.
    """

    def __init__(self, config: PretrainConfig, fabric: Fabric, resumed: bool) -> None:
        self.config = config
        self.fabric = fabric
        torch.manual_seed(config.seed)
        native: dict[int, tuple[int, ...]] = {2: known(config.size_2d)}
        if config.volumes:
            native[3] = known(config.size_3d)  # its slices pass through the 2D parts
        learner, self.transferred = make_student(config, native, resumed)
        recompute(learner, config.activation_checkpointing)
        self.native = native
        self.teacher = make_teacher(config, native, learner).to(fabric.device)
        if config.compile:
            learner.compile()
            self.teacher.compile()
        self._scales = resolve_precision(config.precision) == "16-mixed"
        optimizer = torch.optim.AdamW(_groups(learner), lr=0.0)
        self.learner = learner
        self.student, self.optimizer = fabric.setup(learner, optimizer)
        self.objective = make_objective(config).to(fabric.device)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """Train on one batch; `step` counts from 0.

        Returns
        -------
        dict of str to float
            Losses, averaged over processes, and the schedules' values. The weights are untouched where
            the loss is not finite.
        """
        rates = self._rates(step)
        torch.manual_seed(self.config.seed * 1_000_003 + step)  # stochastic depth, without any state to keep
        center = self.objective.center.clone()
        terms = self._terms(self.fabric.to_device(batch))
        losses = {name: float(average(self.fabric, term.detach())) for name, term in terms.items()}
        if not np.isfinite(losses["loss"]):
            self.objective.center.copy_(center)
            return losses | rates
        self.fabric.backward(terms["loss"])
        if step < known(self.config.freeze_last):
            self.learner.head.last.weight.grad = None
        self._clip()
        finite = gradients_are_finite(self.learner.parameters())
        if finite or self._scales:  # fp16's scaler leaves such a step out by itself, and learns from it
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            follow(self.teacher, self.learner, rates["momentum"])
        elif not self._scales:
            losses["loss"] = float("nan")
        return losses | rates

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of one batch, with gradients."""
        mean = partial(average, self.fabric)
        with torch.no_grad(), self.fabric.autocast():
            targets = self.teacher(batch.views)
        terms: dict[str, Tensor]
        if isinstance(self.objective, PlusDistillation):
            terms = self.objective(self.student(batch.views, batch.drr), targets, batch, mean)
        else:
            terms = self.objective(self.student(batch.views), targets, mean)
        return terms

    def checkpoint(self, step: int, provenance: Mapping[str, Any]) -> Checkpoint:
        """All that is needed to use the backbone, and to go on."""
        description = Description(
            kind="backbone",
            network=self.config.network,
            native=self.native,
            reconstruction=self.learner.backbone.reconstructs,
            objective=self.config.objective,
            step=step,
            provenance=dict(provenance),
        )
        parts = {
            "network": self.learner.backbone.state_dict(),
            "head": self.learner.head.state_dict(),
            "teacher": self.teacher.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        tensors = {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()}
        return Checkpoint(description, tensors)

    def restore(self, saved: Checkpoint) -> int:
        """Go back to a checkpoint; return the number of steps done."""
        try:
            self.learner.backbone.load_state_dict(saved.part("network"))
            self.learner.head.load_state_dict(saved.part("head"))
            self.teacher.load_state_dict(saved.part("teacher"))
            self.objective.load_state_dict(saved.part("objective"))
        except RuntimeError as error:
            raise InputError("the checkpoint does not belong to this run's settings") from error
        load_optimizer(self.optimizer, saved.part("optimizer"))
        return saved.description.step

    def _rates(self, step: int) -> dict[str, float]:
        config, steps = self.config, known(self.config.steps)
        lr = cosine(step, steps, known(config.lr), config.final_lr, known(config.warmup))
        decay = cosine(step, steps, *config.weight_decay)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            group["weight_decay"] = decay if group["decays"] else 0.0
        momentum = cosine(step, steps, known(config.momentum), 1.0)
        return {"lr": lr, "weight_decay": decay, "momentum": momentum}

    def _clip(self) -> None:
        limit = known(self.config.clip)
        if limit == 0:
            return
        if self.config.clip_each:
            for parameter in self.learner.parameters():
                if parameter.grad is not None:
                    torch.nn.utils.clip_grad_norm_([parameter], limit)
        else:
            self.fabric.clip_gradients(self.student, self.optimizer, max_norm=limit, error_if_nonfinite=False)


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
    pace, bad = Pace(start, steps), 0
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
            if bad == _TOLERATED_BAD_STEPS:
                raise JobError(
                    f"the loss was not finite in {bad} steps up to step {done}; "
                    "go on from the last checkpoint with a lower learning rate (--set lr=…)"
                )
        ended = time.perf_counter()
        writer.metrics(
            done,
            {
                **values,
                "images_per_s": len(batch.views) / 2 / (ended - waiting),
                "waiting_s": began - waiting,
            },
        )
        waiting = ended
        writer.progress(
            done / steps, stage="pre-training", step=done, steps=steps, remaining_s=pace.remaining(done)
        )
        stopping = fabric.broadcast(writer.should_stop())
        if not bad and (done == steps or stopping or done % every == 0):
            _save(training, writer, done, provenance)
        if stopping and done < steps:
            return False
    return True


def _save(training: Pretraining, writer: RunWriter, step: int, provenance: Mapping[str, Any]) -> None:
    if not writer.active:
        return
    training.checkpoint(step, provenance).save(writer.run.last)
    writer.event("checkpoint", step=step, path=str(Path("checkpoints") / writer.run.last.name))


def _groups(learner: Learner) -> list[dict[str, Any]]:
    """Parameters with weight decay, and biases and 1-D ones without."""
    decaying: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in learner.named_parameters():
        (free if parameter.ndim == 1 or name.endswith(".bias") else decaying).append(parameter)
    return [{"params": decaying, "decays": True}, {"params": free, "decays": False}]
