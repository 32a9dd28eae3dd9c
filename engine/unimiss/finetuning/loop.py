"""The fine-tuning loop: patches in, losses, validation and checkpoints out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unimiss.data.augment import augment
from unimiss.data.cache import Cache
from unimiss.data.patches import cut_patch, draw_start
from unimiss.data.preprocessing import Preprocessing
from unimiss.devices import average, gradients_are_finite, resolve_precision
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.prepare import PreparedCase
from unimiss.finetuning.validation import validate
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.optimizer import load_optimizer, optimizer_tensors
from unimiss.models.recompute import recompute
from unimiss.models.segmentation import SegmentationNetwork
from unimiss.scaling import LossScale
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.125)  # full size first; the release's fifth output has weight 0


@dataclass(frozen=True)
class Material:
    """What a fine-tuning learns from.

    Attributes
    ----------
    training, validation : sequence of PreparedCase
        In the cache.
    labels : dict of int to str
        Label values and names in the order of the classes.
    preprocessing : Preprocessing
        From a stored case to the network's input.
    """

    training: Sequence[PreparedCase]
    validation: Sequence[PreparedCase]
    labels: dict[int, str]
    preprocessing: Preprocessing


class Finetuning:
    """Everything that changes while fine-tuning, and one step of it.

    Parameters
    ----------
    config : FinetuneConfig
        Resolved.
    network : SegmentationNetwork
        With its first weights.
    material : Material
        Cases.
    cache : Cache
        Where they lie.
    fabric : Fabric
        Device and processes.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        network: SegmentationNetwork,
        material: Material,
        cache: Cache,
        fabric: Fabric,
    ) -> None:
        from monai.losses import DeepSupervisionLoss, DiceCELoss

        self.config = config
        self.material = material
        self.cache = cache
        self.fabric = fabric
        self.patch: tuple[int, ...] = known(config.patch)
        self.scale = material.preprocessing.intensity
        self.spacing = material.preprocessing.spacing or (1.0, 1.0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.network = network
        recompute(network, config.activation_checkpointing)
        if config.compile:
            network.compile()
        self.loss_scale = LossScale(fabric)
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        loss = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
        weights = [weight / sum(_LEVEL_WEIGHTS) for weight in _LEVEL_WEIGHTS]
        self.loss: nn.Module = DeepSupervisionLoss(loss, weights=weights)

    def step(self, step: int, progress: float) -> dict[str, float]:
        """Train on one batch.

        Parameters
        ----------
        step : int
            Counted from 0; all draws depend on it and the seed.
        progress : float
            Share of the training that is over, which sets the learning rate.
        """
        lr = self._learning_rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.network.train()
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        images, labels = self._batch(step)
        # The coarsest output has no weight, so its loss is not computed.
        outputs = [out.float() for out in self.wrapped(images)[: len(_LEVEL_WEIGHTS)]]
        loss: Tensor = self.loss(outputs, labels)
        value = float(average(self.fabric, loss.detach()))
        if np.isfinite(value):
            self.fabric.backward(loss)
            self.loss_scale.unscale(self.optimizer)
            if self.loss_scale.tolerates(gradients_are_finite(self.network.parameters())):
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
                self.optimizer.step()
            else:
                value = float("nan")
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": value, "lr": lr}

    def validate(self, progress: Callable[[float], None]) -> dict[str, float]:
        """Mean Dice over validation cases, and that of each class; `progress` may raise to end it."""
        self.network.eval()
        return validate(
            self.network,
            self.material.validation[: self.config.validation_cases],
            self.cache,
            self.scale,
            self.material.labels,
            self.patch,
            self.fabric.device,
            resolve_precision(self.config.precision),
            progress,
        )

    def checkpoint(self, step: int, training: Mapping[str, Any], provenance: Mapping[str, Any]) -> Checkpoint:
        """Return the model, and what is needed to go on."""
        description = Description(
            kind="segmentation",
            network=self.config.network,
            native={len(self.patch): self.patch},
            channels={len(self.patch): self.material.preprocessing.channels},
            rereads_coarsest=self.network.rereads_coarsest,
            labels=self.material.labels,
            preprocessing=self.material.preprocessing,
            objective="segmentation",
            step=step,
            provenance=dict(provenance),
            training=dict(training),
        )
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        state |= {f"scale.{name}": tensor for name, tensor in self.loss_scale.tensors().items()}
        return Checkpoint(description, tensors | state)

    def restore(self, saved: Checkpoint) -> None:
        """Go back to a checkpoint."""
        try:
            self.network.load_state_dict(saved.part("network"))
        except RuntimeError as error:
            raise InputError("the checkpoint does not belong to this run's settings") from error
        load_optimizer(self.optimizer, saved.part("optimizer"))
        self.loss_scale.load(saved.part("scale"))

    def _learning_rate(self, progress: float) -> float:
        warmup = self.config.warmup
        if progress < warmup:
            return self.config.lr * max(progress / warmup, 0.01)
        return float(self.config.lr * (1 - min(progress, 1.0)) ** 0.9)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        batch = range(self.fabric.global_rank, known(self.config.batch_size), self.fabric.world_size)
        drawn = [self._sample(step, slot) for slot in batch]
        images = torch.from_numpy(np.stack([image for image, _ in drawn]))
        labels = torch.from_numpy(np.stack([label for _, label in drawn]).astype(np.float32))
        generator = torch.Generator().manual_seed(
            (self.config.seed * 1_000_003 + step) * self.fabric.world_size + self.fabric.global_rank
        )
        images, labels = self.fabric.to_device(images), self.fabric.to_device(labels)
        return augment(images, labels, self.spacing, self.config.mirror, generator)

    def _sample(self, step: int, slot: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        rng = np.random.default_rng((self.config.seed, step, slot))
        count = len(self.material.training)
        place = step * known(self.config.batch_size) + slot
        shuffle = np.random.default_rng((self.config.seed, place // count)).permutation(count)
        case = self.material.training[int(shuffle[place % count])]
        image, label = self.cache.open(case.key, "image"), self.cache.open(case.key, "label")
        points = self.cache.open(case.key, "points")[:]
        start = draw_start(image.shape[1:], self.patch, points, self.config.foreground, rng)
        pixels = cut_patch(image, start, self.patch, None)
        return self.scale.from_stored(pixels), cut_patch(label, start, self.patch, 0)
