"""Which image is seen in which step, and its views: all of it a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unimiss.data.cache import Cache
from unimiss.data.views import picture_views, volume_views
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.prepare import Prepared
from unimiss.settings import known


def dimension_at(step: int, config: PretrainConfig) -> int:
    """Return the dimension of a step, counted from 0: turns of `epochs_each` epochs, 2D first."""
    turn_2d, turn_3d = _turns(config)
    return 2 if step % (turn_2d + turn_3d) < turn_2d else 3


def steps_before(step: int, dimension: int, config: PretrainConfig) -> int:
    """Count the steps of a dimension among the first `step`."""
    turn_2d, turn_3d = _turns(config)
    cycles, place = divmod(step, turn_2d + turn_3d)
    if dimension == 2:
        return cycles * turn_2d + min(place, turn_2d)
    return cycles * turn_3d + max(0, place - turn_2d)


def _turns(config: PretrainConfig) -> tuple[int, int]:
    """Return the steps that each dimension is trained for before the other one has its turn."""
    steps_2d = config.epochs_each * known(config.epoch_2d) if config.images else 0
    steps_3d = config.epochs_each * known(config.epoch_3d) if config.volumes else 0
    return steps_2d, steps_3d


class Views(Dataset[Tensor]):
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

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        """Both views of one image, (2, 3, height, width) or (2, 1, depth, height, width)."""
        step, slot = place
        dimension = dimension_at(step, self.config)
        case = self.cases[dimension][self._drawn(step, slot, dimension)]
        array = self.cache.open(case.key, "image")
        rng = np.random.default_rng((self.config.seed, step, slot))
        if dimension == 2:
            views = picture_views(array, known(self.config.size_2d), rng)
        else:
            views = volume_views(array, known(self.config.size_3d), rng)
        return torch.from_numpy(np.stack(views))

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


def collate(samples: list[Tensor]) -> Tensor:
    """All first views, then all second ones."""
    return torch.stack(samples, dim=1).flatten(0, 1)
