"""What differs between tasks; everything else of a fine-tuning is the same for all of them."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimiss.data.augment import Augmentation
from unimiss.data.cache import Cache
from unimiss.data.datasets import Dataset
from unimiss.data.preprocessing import Preprocessing
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.prepare import PreparedCase
from unimiss.finetuning.splits import Splits
from unimiss.geometry import Geometry
from unimiss.models.checkpoint import Description
from unimiss.settings import known

Sample = tuple[NDArray[np.float32], NDArray[np.float32]]

SQUARE = {"cpu": 128, "cuda": 224}  # pixels of a radiograph that is seen whole
SHIFT = 0.1  # of an image that is seen whole


@dataclass(frozen=True)
class Material:
    """What a fine-tuning learns from, and what it makes of it.

    Attributes
    ----------
    training, validation : sequence of PreparedCase
        In the cache.
    description : Description
        Of the model: its labels, its preprocessing from a stored case to the network's input.
    spacing : tuple of float
        Voxel size of the network's input; of images that are resized the median, up to a factor.
    partial : bool
        Whether there are voxels that nobody labelled.
    """

    training: Sequence[PreparedCase]
    validation: Sequence[PreparedCase]
    description: Description
    spacing: tuple[float, ...]
    partial: bool = False


class Task(ABC):
    """Samples, loss and validation of one task.

    Parameters
    ----------
    config : FinetuneConfig
        Resolved.
    material : Material
        Cases and labels.
    cache : Cache
        Where the cases lie.

    Attributes
    ----------
    metric : str
        The validation figure, 0 to 1, by which the best model is chosen.
    validated : list of PreparedCase
        The cases that it is measured on.
    """

    metric: ClassVar[str]

    def __init__(self, config: FinetuneConfig, material: Material, cache: Cache) -> None:
        assert material.description.preprocessing is not None
        self.config = config
        self.material = material
        self.cache = cache
        self.labels = material.description.labels
        self.preprocessing: Preprocessing = material.description.preprocessing
        (self.patch,) = material.description.native.values()
        # In an order of its own: data sets are often sorted by class or by where the cases came from.
        order = sorted(material.validation, key=lambda item: zlib.crc32(item.case.name.encode()))
        self.validated = order[: known(config.validation_cases)]
        self.augmentation = Augmentation(
            mirror=config.mirror,
            rotation=config.rotation,
            scaling=config.scaling,
            shift=known(config.shift),
            crop=config.crop,
            elastic=known(config.elastic),
            low_resolution=config.low_resolution,
        )

    @staticmethod
    @abstractmethod
    def check(dataset: Dataset, config: FinetuneConfig) -> None:
        """Refuse, by InputError, a data set whose classes cannot be learned."""

    @staticmethod
    @abstractmethod
    def check_splits(splits: Splits, dataset: Dataset) -> None:
        """Refuse, by InputError, splits that leave nothing to learn or to validate."""

    @staticmethod
    @abstractmethod
    def resolve(config: FinetuneConfig, grids: Sequence[Geometry], device: str) -> Mapping[str, Any]:
        """Values of settings that are "auto", for images of these grids on "cpu" or "cuda"."""

    @abstractmethod
    def sample(self, case: PreparedCase, rng: np.random.Generator) -> Sample:
        """Draw an input (C, *patch) and its target from a case."""

    @abstractmethod
    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change a batch at random; the generator is on the CPU."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Loss of what the network returns for a batch while it trains."""

    @abstractmethod
    def validate(
        self,
        network: torch.nn.Module,
        device: torch.device,
        precision: str,
        progress: Callable[[float], None],
    ) -> dict[str, float]:
        """Figures on validation cases, `metric` among them; `progress` may raise to end it."""
