"""Which image is seen in which step, and its views: all of it a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unimiss.data.cache import Cache
from unimiss.data.views import picture_views, volume_views
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.prepare import Prepared, drr_array
from unimiss.settings import known

_DRR_AREA = 0.3  # of a radiograph of a CT, a view shows at least this share (UniMiSS+)


def dimension_at(step: int, config: PretrainConfig) -> int:
    """Return the dimension of a step, counted from 0: turns of `epochs_each` epochs."""
    (first, turn), (second, other) = _turns(config)
    return first if step % (turn + other) < turn else second


def steps_before(step: int, dimension: int, config: PretrainConfig) -> int:
    """Count the steps of a dimension among the first `step`."""
    (first, turn), (_, other) = _turns(config)
    cycles, place = divmod(step, turn + other)
    if dimension == first:
        return cycles * turn + min(place, turn)
    return cycles * other + max(0, place - turn)


def _turns(config: PretrainConfig) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return both dimensions in their order, and for how many steps each is trained at a time."""
    epochs = known(config.epochs_each)
    in_2d = (2, epochs * known(config.epoch_2d) if config.images else 0)
    in_3d = (3, epochs * known(config.epoch_3d) if config.volumes else 0)
    return (in_3d, in_2d) if config.objective == "unimiss+" else (in_2d, in_3d)


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


class Views(Dataset[Sample]):
    """Views by (step, slot): a pure function of the seed, so that any process can make any of them.

    Parameters
    ----------
    config : PretrainConfig
        Resolved.
    images, volumes : list of Prepared
        In the cache.
    cache : Cache
        Where they lie.
    """

    def __init__(
        self, config: PretrainConfig, images: list[Prepared], volumes: list[Prepared], cache: Cache
    ) -> None:
        self.config = config
        self.cases = {2: images, 3: volumes}
        self.cache = cache

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Make the views of the image that a slot of a step holds."""
        step, slot = place
        dimension = dimension_at(step, self.config)
        case = self.cases[dimension][self._drawn(step, slot, dimension)]
        array = self.cache.open(case.key, "image")
        rng = np.random.default_rng((self.config.seed, step, slot))
        if dimension == 2:
            views = picture_views(array, known(self.config.size_2d), rng)
        else:
            views = volume_views(array, known(self.config.size_3d), rng)
        drr = self._drr(case, rng) if case.has_drr else None
        return Sample(torch.from_numpy(np.stack(views)), drr)

    def _drr(self, case: Prepared, rng: np.random.Generator) -> Tensor:
        """Both views of one of a volume's radiographs."""
        directions = known(self.config.drr_views)
        name = drr_array(directions[rng.integers(len(directions))])
        picture = self.cache.open(case.key, name)
        return torch.from_numpy(np.stack(picture_views(picture, known(self.config.size_2d), rng, _DRR_AREA)))

    def _drawn(self, step: int, slot: int, dimension: int) -> int:
        """Index of a case: each pass over the images is a new shuffle of all of them."""
        batch = known(self.config.batch_2d if dimension == 2 else self.config.batch_3d)
        place = steps_before(step, dimension, self.config) * batch + slot
        count = len(self.cases[dimension])
        shuffle = np.random.default_rng((self.config.seed, dimension, place // count))
        return int(shuffle.permutation(count)[place % count])


class Batches:
    """The places of each step's images, this process's share of them."""

    def __init__(self, config: PretrainConfig, start: int, rank: int, world: int) -> None:
        self.config, self.start, self.rank, self.world = config, start, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, known(self.config.steps)):
            dimension = dimension_at(step, self.config)
            batch = known(self.config.batch_2d if dimension == 2 else self.config.batch_3d)
            yield [(step, slot) for slot in range(self.rank, batch, self.world)]


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
