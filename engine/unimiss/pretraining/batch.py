"""What a step is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """Both views of one image, and of a radiograph of it.

    Attributes
    ----------
    views : Tensor, shape (2, 3, height, width) or (2, 1, depth, height, width)
        Of the image.
    drr : Tensor or None, shape (2, 3, height, width)
        Of a radiograph of the volume, values in [0, 1], where it has one.
    """

    views: Tensor
    drr: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What a step is trained on: all first views before all second ones.

    Attributes
    ----------
    views : Tensor, shape (2B, 3, height, width) or (2B, 1, depth, height, width)
        Of B images.
    drr : Tensor or None, shape (2R, 3, height, width)
        Of radiographs of R of the volumes; None where no volume has one.
    shown : Tensor, shape (R,)
        Which of the B volumes they show.
    drr_scale : float
        In a part of a batch: its share of the batch's radiographs over its share of the batch's volumes.
    """

    views: Tensor
    drr: Tensor | None
    shown: Tensor
    drr_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.views) // 2

    def split(self, parts: int) -> list[Batch]:
        """Deal the images to so many parts, whose losses, weighted by their length, add up to the whole's."""
        found, start = [], 0
        for views in _by_view(self.views).tensor_split(parts, dim=1):
            end = start + views.shape[1]
            inside = (self.shown >= start) & (self.shown < end)
            drr, scale = None, 1.0
            if self.drr is not None and bool(inside.any()):
                drr = _by_view(self.drr)[:, inside].flatten(0, 1)
                scale = float(inside.float().mean()) * len(self) / views.shape[1]
            found.append(Batch(views.flatten(0, 1), drr, self.shown[inside] - start, scale))
            start = end
        return found

    def to(self, device: torch.device) -> Batch:
        """Copy it to a device."""
        drr = None if self.drr is None else self.drr.to(device)
        return Batch(self.views.to(device), drr, self.shown.to(device), self.drr_scale)


def collate(samples: list[Sample]) -> Batch:
    """All first views, then all second ones."""
    drr = {i: sample.drr for i, sample in enumerate(samples) if sample.drr is not None}
    return Batch(
        _in_order([sample.views for sample in samples]),
        _in_order(list(drr.values())) if drr else None,
        torch.tensor(list(drr), dtype=torch.long),
    )


def _by_view(views: Tensor) -> Tensor:
    return views.view(2, -1, *views.shape[1:])


def _in_order(views: list[Tensor]) -> Tensor:
    return torch.stack(views, dim=1).flatten(0, 1)
