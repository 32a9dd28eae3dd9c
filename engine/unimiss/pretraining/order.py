"""Which image is seen in which step: a function of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unimiss.pretraining.config import PretrainConfig
from unimiss.settings import known

_STRIDE = 4  # slices from one of the paper's sub-volumes to the next; each has 24, 1.5 times those of a view
_MOST_VIEWS = 64  # so that one large scan does not outweigh a cohort
_PASSES_KEPT = 8  # shuffles in memory: a step touches two at most, processes that prepare views a few more


def dimension_at(step: int, config: PretrainConfig) -> int:
    """Return the dimension of a step, counted from 0."""
    first, second = _first(config), 5 - _first(config)
    return first if steps_before(step + 1, first, config) > steps_before(step, first, config) else second


def steps_before(step: int, dimension: int, config: PretrainConfig) -> int:
    """Count the steps of a dimension among the first `step`.

    The dimensions take turns of `epochs_each` epochs, or are spread evenly over as many steps.
    """
    first = _first(config)
    turn, other = _turn(first, config), _turn(5 - first, config)
    cycles, place = divmod(step, turn + other)
    evenly = config.mixing == "step"
    of_first = cycles * turn + (-(-place * turn // (turn + other)) if evenly else min(place, turn))
    return of_first if dimension == first else step - of_first


def _first(config: PretrainConfig) -> int:
    return 3 if config.objective == "unimiss+" else 2


def _turn(dimension: int, config: PretrainConfig) -> int:
    """Count the steps of a dimension in each cycle; 0 where there are no such images."""
    present = config.images if dimension == 2 else config.volumes
    epoch = config.epoch_2d if dimension == 2 else config.epoch_3d
    return known(config.epochs_each) * known(epoch) if present else 0


def weight(shape: Sequence[int], size: Sequence[int], weighting: str) -> int:
    """Count how often a volume is seen in a pass: as often as the sub-volumes that one would cut it into.

    Parameters
    ----------
    shape, size : sequence of int
        Depth, height and width of the volume and of a view.
    weighting : "size" or "stride"
        See `PretrainConfig.weighting`.
    """
    if weighting == "stride":
        return 1 + max(0, shape[0] - size[0] * 3 // 2) // _STRIDE
    return min(_MOST_VIEWS, math.prod(max(1, n // view) for n, view in zip(shape, size, strict=True)))


class Draws:
    """The images of one dimension in the order in which they are seen.

    Each pass is a new shuffle in which every image comes as often as its weight says.

    Parameters
    ----------
    weights : sequence of int
        Times that each image is seen in a pass, at least 1.
    seed : sequence of int
        Of the shuffles.
    """

    def __init__(self, weights: Sequence[int], seed: Sequence[int]) -> None:
        self._seed = tuple(seed)
        self._images = np.repeat(np.arange(len(weights)), weights)
        self._shuffles: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> int:
        """Index of the image that is drawn at a place, counted over all passes."""
        done, place = divmod(place, len(self))
        if done not in self._shuffles:
            while len(self._shuffles) >= _PASSES_KEPT:
                del self._shuffles[min(self._shuffles)]
            self._shuffles[done] = np.random.default_rng((*self._seed, done)).permutation(self._images)
        return int(self._shuffles[done][place])


class Batches:
    """The places of each step's images, this process's share of them."""

    def __init__(self, config: PretrainConfig, start: int, rank: int, world: int) -> None:
        self.config, self.start, self.rank, self.world = config, start, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, known(self.config.steps)):
            dimension = dimension_at(step, self.config)
            batch = known(self.config.batch_2d if dimension == 2 else self.config.batch_3d)
            yield [(step, slot) for slot in range(self.rank, batch, self.world)]
