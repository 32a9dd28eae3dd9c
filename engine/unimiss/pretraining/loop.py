"""One step of a pre-training: views in, losses, teacher and checkpoints out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from unimiss.devices import average, gradients_are_finite, out_of_memory
from unimiss.errors import InputError, JobError
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.optimizer import load_optimizer, optimizer_tensors
from unimiss.models.recompute import recompute
from unimiss.pretraining.batch import Batch
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.networks import make_objectives, make_student, make_teacher
from unimiss.pretraining.objective import Learner, SelfDistillation, follow
from unimiss.pretraining.order import dimension_at, steps_before
from unimiss.pretraining.plus import PlusDistillation
from unimiss.pretraining.probe import Probe
from unimiss.pretraining.schedules import cosine
from unimiss.pretraining.signals import measure
from unimiss.scaling import LossScale
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


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
        on_cpu = fabric.device.type == "cpu"  # one pass over weights and moments there instead of ten
        optimizer = torch.optim.AdamW(_groups(learner), lr=0.0, fused=on_cpu or None)
        self.parts = {2: config.accumulate_2d, 3: config.accumulate_3d}
        self.notes: list[str] = []  # what a person should be told, since it was last read
        self.learner = learner
        self.student, self.optimizer = fabric.setup(learner, optimizer)
        self.loss_scale = LossScale(fabric)
        self.objectives = {d: objective.to(fabric.device) for d, objective in make_objectives(config).items()}

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
        batch = self.fabric.to_device(batch)
        objective = self._objective(batch)
        if known(self.config.center_from_first) and self._is_first(step):
            self._start_center(batch)
        center = objective.center.clone()
        losses = self._in_parts(batch, lambda parts: self._pass(batch, center, parts))
        if not np.isfinite(losses["loss"]):
            self.optimizer.zero_grad(set_to_none=True)
            objective.center.copy_(center)
            return losses | rates
        if step < known(self.config.freeze_last):
            self.learner.head.last.weight.grad = None
        self.loss_scale.unscale(self.optimizer)
        finite = gradients_are_finite(self.learner.parameters())
        if self.loss_scale.tolerates(finite):
            self._clip()
            self.optimizer.step()
        else:
            losses["loss"] = float("nan")
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            follow(self.teacher, self.learner, rates["momentum"])
        return losses | rates

    def _objective(self, batch: Batch) -> SelfDistillation | PlusDistillation:
        return self.objectives[batch.views.ndim - 2]

    def _is_first(self, step: int) -> bool:
        """Whether no step before has moved this step's center."""
        if known(self.config.shared_center):
            return step == 0
        return steps_before(step, dimension_at(step, self.config), self.config) == 0

    @torch.no_grad()
    def _start_center(self, batch: Batch) -> None:
        """Begin where the teacher is: from 0, one prototype takes all before the center has caught up."""
        center = self._objective(batch).center

        def measure(parts: int) -> Tensor:
            mean = torch.zeros_like(center)
            for part in batch.split(parts):
                with self.fabric.autocast():
                    scores = self.teacher(part.views).values()
                means = torch.stack([logits.float().mean(dim=0, keepdim=True) for logits in scores])
                mean += means.mean(dim=0) * len(part) / len(batch)
            return mean

        center.copy_(average(self.fabric, self._in_parts(batch, measure)))

    def _in_parts(self, batch: Batch, work: Callable[[int], T]) -> T:
        """Do work on a batch in as many parts as fit into memory; `work` takes their number."""
        dimension = batch.views.ndim - 2
        center = self._objective(batch).center.clone()
        while True:
            parts = min(self.parts[dimension], len(batch))
            try:
                return work(parts)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                self.optimizer.zero_grad(set_to_none=True)
                self._objective(batch).center.copy_(center)  # as it was: a checkpoint may be written next
                if self.fabric.world_size > 1:  # the others may wait for this one's gradients for ever
                    raise JobError(
                        "a process ran out of memory, which several processes cannot mend on the way: "
                        "go on with --set accumulate_3d=2 (or 4, 8), or accumulate_2d"
                    ) from error
                if parts == len(batch):
                    raise JobError(
                        "there is not enough memory for a single image; take smaller views "
                        "(--set size_3d=…), a smaller network, or --set activation_checkpointing=true"
                    ) from error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.parts[dimension] = parts = min(2 * parts, len(batch))
            self.notes.append(
                f"there was not enough memory for a step in {dimension}D; its {len(batch)} images now go "
                f"through the network in {parts} parts, which gives the same step"
            )

    def _pass(self, batch: Batch, center: Tensor, parts: int) -> dict[str, float]:
        """Forward and backward pass of every part; the center moves by the mean over all of them."""
        losses: dict[str, float] = {}
        objective = self._objective(batch)
        moved = torch.zeros_like(center)
        for i, part in enumerate(batch.split(parts)):
            share = len(part) / len(batch)
            objective.center.copy_(center)
            with self.fabric.no_backward_sync(self.student, enabled=i < parts - 1):
                terms = self._terms(part)
                for name, term in terms.items():
                    value = float(average(self.fabric, term.detach()))
                    losses[name] = losses.get(name, 0.0) + share * value
                if not np.isfinite(losses["loss"]):
                    return losses
                self.fabric.backward(terms["loss"] * share)
            moved += share * objective.center
        objective.center.copy_(moved)
        return losses

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of one batch, with gradients."""
        mean = partial(average, self.fabric)
        with torch.no_grad(), self.fabric.autocast():
            targets = self.teacher(batch.views)
        terms: dict[str, Tensor]
        objective = self._objective(batch)
        if isinstance(objective, PlusDistillation):
            terms = objective(self.student(batch.views, batch.drr), targets, batch, mean)
        else:
            terms = objective(self.student(batch.views), targets, mean)
        return terms

    def signals(self, batch: Batch) -> dict[str, float]:
        """Look at a batch through the teacher; see `signals.measure`."""
        batch = self.fabric.to_device(batch)

        def look(parts: int) -> dict[str, float]:
            views = [part.views for part in batch.split(parts)]
            with self.fabric.autocast():
                return measure(self.teacher, self._objective(batch), views, partial(average, self.fabric))

        return self._in_parts(batch, look)

    def probe(self, probe: Probe) -> dict[str, float]:
        """Test the student's frozen features; see `Probe.measure`."""
        backbone = self.learner.backbone.eval()
        with self.fabric.autocast():
            found = probe.measure(lambda images: backbone(images.to(self.fabric.device)))
        backbone.train()
        return found

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
            "objective": {f"center_{d}d": o.center.clone() for d, o in self.objectives.items()},
            "optimizer": optimizer_tensors(self.optimizer),
            "scale": self.loss_scale.tensors(),
        }
        tensors = {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()}
        return Checkpoint(description, tensors)

    def restore(self, saved: Checkpoint) -> int:
        """Go back to a checkpoint; return the number of steps done."""
        try:
            self.learner.backbone.load_state_dict(saved.part("network"))
            self.learner.head.load_state_dict(saved.part("head"))
            self.teacher.load_state_dict(saved.part("teacher"))
            for dimension, objective in self.objectives.items():
                objective.center.copy_(saved.part("objective")[f"center_{dimension}d"])
        except (KeyError, RuntimeError) as error:
            raise InputError("the checkpoint does not belong to this run's settings") from error
        load_optimizer(self.optimizer, saved.part("optimizer"))
        self.loss_scale.load(saved.part("scale"))
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
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), limit)


def _groups(learner: Learner) -> list[dict[str, Any]]:
    """Parameters with weight decay, and biases and 1-D ones without."""
    decaying: list[torch.nn.Parameter] = []
    free: list[torch.nn.Parameter] = []
    for name, parameter in learner.named_parameters():
        (free if parameter.ndim == 1 or name.endswith(".bias") else decaying).append(parameter)
    return [{"params": decaying, "decays": True}, {"params": free, "decays": False}]
