"""Fine-tuning for classification: whole images, cross-entropy, area under the ROC curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.data.augment import augment
from unimiss.data.cache import Cache
from unimiss.data.cases import Case
from unimiss.data.datasets import Dataset
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.grids import fit_patch, fit_spacing
from unimiss.finetuning.prepare import PreparedCase
from unimiss.finetuning.splits import Splits
from unimiss.finetuning.task import SHIFT, SQUARE, Material, Sample, Task
from unimiss.geometry import Geometry
from unimiss.inference.classes import class_probabilities
from unimiss.settings import known

_BATCH = {2: {"cpu": 16, "cuda": 32}, 3: {"cpu": 4, "cuda": 8}}


class Classification(Task):
    """One class for an image or, where they overlap, any number of them."""

    metric = "auc"

    def __init__(self, config: FinetuneConfig, material: Material, cache: Cache) -> None:
        super().__init__(config, material, cache)
        self.overlapping = material.description.overlapping
        targets = np.stack([self._target(item.case) for item in material.training])
        self._weights = torch.ones(len(self.labels))
        if config.balance:
            share = (targets.sum(axis=0) + 1) / (len(targets) + 2)  # never 0 nor 1
            rarity = (1 - share) / share if self.overlapping else 1 / (len(share) * share)
            self._weights = torch.from_numpy(rarity.astype(np.float32))
        self._truth = np.stack([self._target(item.case) for item in self.validated])
        if not _differing(self._truth).any():
            raise InputError(
                f"the {len(self._truth)} cases that validate have the same classes, so nothing can be "
                "measured; choose another fold, or more validation_cases"
            )

    @staticmethod
    def check(dataset: Dataset, config: FinetuneConfig) -> None:
        """Refuse cases that are all of one class."""
        if len(dataset.labels) < 2 and not dataset.overlapping:
            raise InputError(f"{config.dataset}: all cases are of the class {dataset.labels[0]}")

    @staticmethod
    def check_splits(splits: Splits, dataset: Dataset) -> None:
        """Refuse a training without cases of a class, and a validation that cannot be measured."""
        counts = {name: Counter(_classes(cases)) for name, cases in splits.items()}
        lacking = [name for name in dataset.labels.values() if not counts["training"][name]]
        if lacking:
            raise InputError(
                f"{dataset.name}: no training case is of the class {lacking[0]}; "
                "use a larger fraction, another fold, or ignore the class"
            )
        validating = len(splits["validation"])
        if not any(0 < counts["validation"][name] < validating for name in dataset.labels.values()):
            raise InputError(
                f"{dataset.name}: all {validating} validation cases have the same classes; "
                "choose another fold"
            )

    @staticmethod
    def resolve(config: FinetuneConfig, grids: Sequence[Geometry], device: str) -> Mapping[str, Any]:
        """Whole images: radiographs square, volumes at about the voxel size of most."""
        dimension = grids[0].ndim
        side = SQUARE[device]
        return {
            "lr": 5e-4,
            "weight_decay": 0.05,
            "elastic": 0.0,
            "shift": SHIFT,
            "average": 0.99,
            "validation_cases": 1000,
            "patch": (side, side) if dimension == 2 else fit_patch(grids, fit_spacing(grids), device),
            "batch_size": _BATCH[dimension][device],
        }

    def sample(self, case: PreparedCase, rng: np.random.Generator) -> Sample:
        """Read the image, and 1 for each class that it has, else 0."""
        stored = self.cache.open(case.key, "image")[:]
        return self.preprocessing.intensity.from_stored(stored), self._target(case.case)

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Shift or crop, turn, scale, mirror, bend, and change values."""
        images, _ = augment(images, None, self.material.spacing, self.augmentation, generator)
        return images, targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, of each class by itself where they overlap."""
        scores, weights = outputs.float(), self._weights.to(outputs.device)
        smoothing = self.config.label_smoothing
        if self.overlapping:
            smoothed = targets * (1 - smoothing) + smoothing / 2  # of each class yes and no
            return F.binary_cross_entropy_with_logits(scores, smoothed, pos_weight=weights)
        return F.cross_entropy(scores, targets, weight=weights, label_smoothing=smoothing)

    def validate(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str,
        progress: Callable[[float], None],
    ) -> dict[str, float]:
        """Area under the ROC curve of each class against the rest.

        Returns
        -------
        dict of str to float
            "auc", the mean over classes, and of more than two "auc_<name>", each where validation has cases
            with and without the class.
        """
        from sklearn.metrics import roc_auc_score

        cases, truth = self.validated, self._truth
        found, batch = [], known(self.config.batch_size)
        for start in range(0, len(cases), batch):
            part = cases[start : start + batch]
            stored = [self.cache.open(item.key, "image")[:] for item in part]
            images = np.stack([self.preprocessing.intensity.from_stored(image) for image in stored])
            tensor = torch.from_numpy(images).to(device)
            found.append(class_probabilities(network, tensor, precision, overlapping=self.overlapping).cpu())
            progress((start + len(part)) / len(cases))
        scores = torch.cat(found).numpy()
        figures = {
            f"auc_{name}": float(roc_auc_score(truth[:, i], scores[:, i]))
            for i, name in enumerate(self.labels.values())
            if _differing(truth)[i]
        }
        return {"auc": float(np.mean(list(figures.values()))), **(figures if len(self.labels) > 2 else {})}

    def _target(self, case: Case) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.array([name in case.classes for name in self.labels.values()], dtype=np.float32)


def _classes(cases: Sequence[Case]) -> list[str]:
    return [name for case in cases for name in case.classes]


def _differing(truth: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say of which classes there are cases with and without, of 0 or 1 of shape (cases, classes)."""
    with_it = truth.sum(axis=0)
    differing: np.ndarray[Any, np.dtype[np.bool_]] = (with_it > 0) & (with_it < len(truth))
    return differing
