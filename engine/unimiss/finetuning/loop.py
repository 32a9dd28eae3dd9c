"""The fine-tuning loop: batches in, losses, validation and checkpoints out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unimiss.devices import average, gradients_are_finite, resolve_precision
from unimiss.errors import InputError
from unimiss.finetuning.average import Average
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.task import Sample, Task
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.optimizer import by_stage, load_optimizer, optimizer_tensors
from unimiss.models.recompute import recompute
from unimiss.scaling import LossScale
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Finetuning:
    """Everything that changes while fine-tuning, and one step of it.

    Parameters
    ----------
    config : FinetuneConfig
        Resolved.
    network : Module
        With its first weights.
    task : Task
        What it learns, from which cases.
    fabric : Fabric
        Device and processes.
    """

    def __init__(self, config: FinetuneConfig, network: nn.Module, task: Task, fabric: Fabric) -> None:
        self.config = config
        self.task = task
        self.fabric = fabric
        groups = by_stage(network, config.layer_decay)
        for group in groups:  # what no step changes needs no gradient, and no activation is kept for one
            for parameter in group["params"]:
                parameter.requires_grad_(group["share"] > 0)
        optimizer = torch.optim.AdamW(
            groups, lr=known(config.lr), weight_decay=known(config.weight_decay), eps=config.eps
        )
        self.network = network
        recompute(network, config.activation_checkpointing)
        if config.compile:
            network.compile()
        self.loss_scale = LossScale(fabric)
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.average = Average(network, known(config.average))

    def step(self, step: int, progress: float) -> dict[str, float]:
        """Train on one batch.

        Parameters
        ----------
        step : int
            Counted from 0; all draws depend on it and the seed.
        progress : float
            Share of the training that is over, which sets the learning rate.
        """
        lr = learning_rate(self.config, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["share"]
        self.network.train()
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        images, targets = self._batch(step)
        loss = self.task.loss(self.wrapped(images), targets)
        value = float(average(self.fabric, loss.detach()))
        if np.isfinite(value):
            self.fabric.backward(loss)
            self.loss_scale.unscale(self.optimizer)
            if self.loss_scale.tolerates(gradients_are_finite(self.network.parameters())):
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
                self.optimizer.step()
                self.average.update(step)
            else:
                value = float("nan")
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": value, "lr": lr}

    def validate(self, progress: Callable[[float], None]) -> dict[str, float]:
        """Figures of the averaged weights on validation cases; `progress` may raise to end it."""
        network, precision = self.average.network.eval(), resolve_precision(self.config.precision)
        return self.task.validate(network, self.fabric.device, precision, progress)

    def model(self, step: int, training: Mapping[str, Any]) -> Checkpoint:
        """Return the model, with the averaged weights."""
        return Checkpoint(self._description(step, training), _named("network", self.average.network))

    def checkpoint(self, step: int, training: Mapping[str, Any]) -> Checkpoint:
        """Return the network, and what is needed to go on."""
        tensors = _named("network", self.network)
        if self.average.decay:
            tensors |= _named("average", self.average.network)
        state = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        state |= {f"scale.{name}": tensor for name, tensor in self.loss_scale.tensors().items()}
        return Checkpoint(self._description(step, training), tensors | state)

    def restore(self, saved: Checkpoint) -> None:
        """Go back to a checkpoint."""
        try:
            self.network.load_state_dict(saved.part("network"))
            if self.average.decay:
                self.average.network.load_state_dict(saved.part("average"))
        except RuntimeError as error:
            raise InputError("the checkpoint does not belong to this run's settings") from error
        load_optimizer(self.optimizer, saved.part("optimizer"))
        self.loss_scale.load(saved.part("scale"))

    def _description(self, step: int, training: Mapping[str, Any]) -> Description:
        return self.task.material.description.model_copy(update={"step": step, "training": dict(training)})

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        batch = range(self.fabric.global_rank, known(self.config.batch_size), self.fabric.world_size)
        drawn = [self._sample(step, slot) for slot in batch]
        images, targets = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        generator = torch.Generator().manual_seed(
            (self.config.seed * 1_000_003 + step) * self.fabric.world_size + self.fabric.global_rank
        )
        images, targets = self.fabric.to_device(images), self.fabric.to_device(targets)
        return self.task.augment(images, targets, generator)

    def _sample(self, step: int, slot: int) -> Sample:
        cases = self.task.material.training
        place = step * known(self.config.batch_size) + slot
        shuffle = np.random.default_rng((self.config.seed, place // len(cases))).permutation(len(cases))
        rng = np.random.default_rng((self.config.seed, step, slot))
        return self.task.sample(cases[int(shuffle[place % len(cases)])], rng)


def learning_rate(config: FinetuneConfig, progress: float) -> float:
    """Peak rate times what warm-up and schedule leave of it, once a share of the training is over.

    The polynomial counts from the training's start, as nnU-Net's, the cosine from the end of the warm-up.
    """
    lr, warmup, progress = known(config.lr), config.warmup, min(progress, 1.0)
    if progress < warmup:
        return lr * max(progress / warmup, 0.01)
    if config.schedule == "constant":
        return lr
    if config.schedule == "cosine":
        return lr * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
    return float(lr * (1 - progress) ** 0.9)


def _named(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}
