"""Views of the images in the cache, by step and slot."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unimiss.data.cache import Cache
from unimiss.data.views import picture_views, volume_views
from unimiss.errors import JobError
from unimiss.pretraining.batch import Sample
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.order import Draws, dimension_at, steps_before
from unimiss.pretraining.prepare import Prepared, drr_array
from unimiss.settings import known

_DRR_AREA = 0.3  # of a radiograph of a CT, a view shows at least this share (UniMiSS+)


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
        self.draws = {
            dimension: Draws([case.weight for case in cases], (config.seed, dimension))
            for dimension, cases in self.cases.items()
        }
        self.cache = cache

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Make the views of the image that a slot of a step holds.

        Raises
        ------
        JobError
            It is no longer in the cache.
        """
        try:
            return self._make(*place)
        except (OSError, RuntimeError) as error:  # blosc2 raises either
            raise JobError(
                f"views could not be made from the cache {self.cache.folder} ({error}); "
                "go on with --resume, which prepares again what is gone"
            ) from error

    def _make(self, step: int, slot: int) -> Sample:
        dimension = dimension_at(step, self.config)
        batch = known(self.config.batch_2d if dimension == 2 else self.config.batch_3d)
        drawn = self.draws[dimension][steps_before(step, dimension, self.config) * batch + slot]
        case = self.cases[dimension][drawn]
        array = self.cache.open(case.key, "image")
        rng = np.random.default_rng((self.config.seed, step, slot))
        if dimension == 2:
            views = picture_views(array, known(self.config.size_2d), rng)
        else:
            views = volume_views(array, known(self.config.size_3d), rng)
        drr = self._drr(case, rng) if case.has_drr else None
        return Sample(torch.from_numpy(views), drr)

    def _drr(self, case: Prepared, rng: np.random.Generator) -> Tensor:
        """Both views of one of a volume's radiographs."""
        directions = known(self.config.drr_views)
        name = drr_array(directions[rng.integers(len(directions))])
        picture = self.cache.open(case.key, name)
        return torch.from_numpy(picture_views(picture, known(self.config.size_2d), rng, _DRR_AREA))
