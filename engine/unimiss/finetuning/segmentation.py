"""Fine-tuning for segmentation: patches, Dice and cross-entropy at every level, Dice on whole cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.data.augment import augment
from unimiss.data.cache import Cache
from unimiss.data.datasets import UNKNOWN, Dataset
from unimiss.data.patches import cut_patch, draw_start
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.grids import fit_patch, fit_spacing
from unimiss.finetuning.prepare import PreparedCase
from unimiss.finetuning.splits import Splits
from unimiss.finetuning.task import SHIFT, SQUARE, Material, Sample, Task
from unimiss.geometry import Geometry
from unimiss.inference.windows import window_scores

_LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.125)  # full size first; the release's fifth output has weight 0


class Segmentation(Task):
    """One class for every pixel or voxel or, where they overlap, any number of them."""

    metric = "dice"

    def __init__(self, config: FinetuneConfig, material: Material, cache: Cache) -> None:
        from monai.losses import DeepSupervisionLoss, DiceCELoss

        super().__init__(config, material, cache)
        self.overlapping = material.description.overlapping
        if self.overlapping:
            loss: nn.Module = BinaryDiceLoss(config.label_smoothing)
        else:
            loss = DiceCELoss(
                softmax=True,
                to_onehot_y=True,
                include_background=False,
                batch=True,
                label_smoothing=config.label_smoothing,  # of the cross-entropy alone
            )
        if material.partial:
            loss = LossWhereKnown(loss)
        weights = [weight / sum(_LEVEL_WEIGHTS) for weight in _LEVEL_WEIGHTS]
        self._loss: nn.Module = loss
        self._loss_of_levels: nn.Module = DeepSupervisionLoss(loss, weights=weights)
        if not any((cache.open(item.key, "points")[:, 0] > 0).any() for item in self.validated):
            raise InputError(
                f"the masks of the {len(self.validated)} cases that validate are empty, so nothing can be "
                "measured; choose another fold, or more validation_cases"
            )

    @staticmethod
    def check(dataset: Dataset, config: FinetuneConfig) -> None:
        """Refuse masks without any class."""
        if len(dataset.labels) < 2:
            raise InputError(f"{config.dataset}: the masks hold no class besides the background")

    @staticmethod
    def check_splits(splits: Splits, dataset: Dataset) -> None:
        """Take any splits: what the masks hold is known once they are prepared."""

    @staticmethod
    def resolve(config: FinetuneConfig, grids: Sequence[Geometry], device: str) -> Mapping[str, Any]:
        """Patches of volumes at the voxel size of most; radiographs whole."""
        values: dict[str, Any] = {
            "lr": 1e-3,
            "weight_decay": 0.05,
            "elastic": 0.3,
            "average": 0.0,
            "validation_cases": 8,
        }
        if grids[0].ndim == 2:
            if config.spacing != "auto":
                raise InputError("spacing is for volumes; flat images are resized to 'patch'")
            batch = 16 if device == "cuda" else 8
            return {**values, "patch": (SQUARE[device],) * 2, "batch_size": batch, "shift": SHIFT}
        spacing = fit_spacing(grids) if config.spacing == "auto" else config.spacing
        patch = fit_patch(grids, spacing, device)
        return {**values, "spacing": spacing, "patch": patch, "batch_size": 2, "shift": 0.0}

    def sample(self, case: PreparedCase, rng: np.random.Generator) -> Sample:
        """Cut a patch, and its class indices (1, *patch); of overlapping ones 0 or 1, (classes, *patch).

        `UNKNOWN` is where nobody labelled.
        """
        image, label = self.cache.open(case.key, "image"), self.cache.open(case.key, "label")
        points = self.cache.open(case.key, "points")[:]
        known_places = self.cache.open(case.key, "known")[:] if self.material.partial else None
        start = draw_start(image.shape[1:], self.patch, points, self.config.foreground, rng, known_places)
        pixels = cut_patch(image, start, self.patch, None)
        classes = cut_patch(label, start, self.patch, 0).astype(np.float32)
        return self.preprocessing.intensity.from_stored(pixels), classes

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Turn, scale, mirror, bend, and change values."""
        return augment(images, targets, self.material.spacing, self.augmentation, generator)

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Dice and cross-entropy, weighted over levels; the coarsest has no weight and is left out."""
        if isinstance(outputs, Tensor):  # of a network without deep supervision
            whole: Tensor = self._loss(outputs.float(), targets)
            return whole
        levels = [out.float() for out in outputs[: len(_LEVEL_WEIGHTS)]]
        loss: Tensor = self._loss_of_levels(levels, targets)
        return loss

    def validate(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str,
        progress: Callable[[float], None],
    ) -> dict[str, float]:
        """Dice on whole cases, on the network's own grid.

        Returns
        -------
        dict of str to float
            "dice", the mean over classes, and "dice_<name>", each over the cases where prediction or
            reference has the class. Voxels that nobody labelled count in neither.
        """
        scores: dict[int, list[float]] = {index: [] for index in range(1, len(self.labels))}
        for case in self.validated:
            stored = self.cache.open(case.key, "image")[:]
            image = torch.from_numpy(self.preprocessing.intensity.from_stored(stored)).to(device)
            truth = torch.from_numpy(self.cache.open(case.key, "label")[:]).to(device)
            found = window_scores(network, image, self.patch, precision, progress)
            labelled = truth[0] != UNKNOWN if self.material.partial else None
            masks = zip(self._masks(found), self._masks(truth), strict=True)
            for values, (predicted, true) in zip(scores.values(), masks, strict=True):
                if labelled is not None:
                    predicted, true = predicted & labelled, true & labelled
                total = int(predicted.sum() + true.sum())
                if total:
                    values.append(2 * int((predicted & true).sum()) / total)
        names = list(self.labels.values())
        means = {f"dice_{names[index]}": float(np.mean(v)) for index, v in scores.items() if v}
        return {"dice": float(np.mean(list(means.values()))), **means}

    def _masks(self, found: Tensor) -> Iterator[Tensor]:
        """Where each class is, of scores or of a stored label, one after another."""
        if self.overlapping:
            return (channel > 0 for channel in found)
        classes = found[0] if len(found) == 1 else found.argmax(dim=0)
        return (classes == index for index in range(1, len(self.labels)))


class LossWhereKnown(nn.Module):
    """A loss over the voxels that somebody labelled, as if there were no others.

    Parameters
    ----------
    loss : Module
        Takes scores (B, classes, *grid) and targets, and does not care how voxels are arranged.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Loss of scores against targets that are `UNKNOWN` where they say nothing; 0 if they are nowhere."""
        known_voxels = targets[:, 0] != UNKNOWN
        scores, targets = (_voxels(tensor, known_voxels) for tensor in (scores, targets))
        # An empty sum is 0 and has gradients, which several processes expect of each other.
        loss: Tensor = self._loss(scores, targets) if scores.numel() else scores.sum()
        return loss


def _voxels(tensor: Tensor, where: Tensor) -> Tensor:
    """Those voxels of (B, C, *grid) that are in (B, *grid), as one row (1, C, N)."""
    return tensor.movedim(1, -1)[where].T[None]


class BinaryDiceLoss(nn.Module):
    """Soft Dice, over the batch, and binary cross-entropy of classes that may overlap; each counts alike.

    MONAI's `DiceCELoss` takes the cross-entropy of a softmax wherever there are several channels, which would
    make the classes exclude each other.

    Parameters
    ----------
    smoothing : float
        Share of each target that is dealt out evenly to yes and no, in the cross-entropy alone.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        from monai.losses import DiceLoss

        super().__init__()
        self._dice = DiceLoss(sigmoid=True, batch=True)
        self._smoothing = smoothing

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Loss of scores (B, classes, *grid) against 0 or 1 of the same shape."""
        smoothed = targets * (1 - self._smoothing) + self._smoothing / 2
        loss: Tensor = self._dice(scores, targets) + F.binary_cross_entropy_with_logits(scores, smoothed)
        return loss
