"""Settings of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from unimiss.data.datasets import Kind
from unimiss.data.datasets.problems import Acceptable
from unimiss.models.checkpoint import STARTER
from unimiss.models.presets import Network
from unimiss.settings import Auto
from unimiss.training import Positive, TrainingSettings

PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, BeforeValidator(str)]  # YAML takes the name 1 for a number
Plane = Annotated[int, Field(ge=16)]
Patch = tuple[Plane, Plane] | tuple[Annotated[int, Field(ge=2)], Plane, Plane]


class FinetuneConfig(TrainingSettings):
    """What a fine-tuning does; `auto` values are resolved from data and device and written down.

    Attributes
    ----------
    dataset : Path
        Labelled cases: a folder, or a file that lists them.
    labels : dict of str to str
        Old name to new one; classes that get one name become one.
    ignore : list of str
        Classes that are not learned: background of masks; cases of images lose them.
    accept : list of "empty masks", "duplicates"
        Faults that do not refuse the data set: empty masks are kept, of duplicates the first.
    task : "segmentation" or "classification"
        What is learned.
    init : Path or None
        Pre-trained backbone or segmentation model to start from (see `models.checkpoint.find`); none for
        random weights.
    network : "tiny", "small" or "plus"
        Size of MiT, where there is no `init`.
    fold, folds : int
        Which of how many parts of the patients validates.
    fraction : float
        Share of the training patients that is used.
    holdout : int
        One patient in so many, by name, is never trained on, where there are at least 20; 0 holds
        nobody out.
    steps, minutes : int, float
        Length of the training; with `minutes` the schedule is annealed to the wall-clock.
    patch : tuple of int
        What the network sees at once: a patch of a volume to segment; else the whole image, resized.
    spacing : tuple of float
        Segmentation: voxel size in mm (depth, height, width) that volumes are resampled to.
    batch_size : int
        Patches or images in a step, over all processes.
    lr, weight_decay, clip : float
        Of AdamW: peak learning rate (polynomial decay 0.9 after a warm-up), decay, largest gradient norm.
    layer_decay : float
        Factor of the learning rate from each stage of the encoder to the one before it; 0 freezes them.
    average : float
        Decay, in each step, of the moving average of the weights, which is what is validated and kept; 0 for
        the weights themselves.
    foreground : float
        Segmentation: share of patches that are centred on a labelled class.
    balance : bool
        Classification: count all classes alike, however rare; probabilities are then those of a population
        where they are equally frequent.
    mirror : bool
        Flip images in plane; not for classes that tell left from right.
    validations, validation_cases : int
        How often, and on how many cases, the model is validated.
    """

    dataset: Path
    labels: dict[Name, Name] = {}
    ignore: list[Name] = []
    accept: list[Acceptable] = []
    task: Kind = "segmentation"
    init: Path | None = Path(STARTER)
    network: Network = "tiny"
    fold: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = 5
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    holdout: Annotated[int, Field(ge=0)] = 5
    steps: Positive | Auto = "auto"
    minutes: PositiveFloat | None = None
    patch: Patch | Auto = "auto"
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | Auto = "auto"
    batch_size: Positive | Auto = "auto"
    lr: PositiveFloat | Auto = "auto"
    weight_decay: Annotated[float, Field(ge=0)] | Auto = "auto"
    clip: PositiveFloat = 12.0
    warmup: Share = 0.03
    drop_path: Share = 0.0
    layer_decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    average: Share | Auto = "auto"
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    balance: bool = True
    mirror: bool = False
    validations: Annotated[int, Field(ge=1)] = 5
    validation_cases: Positive | Auto = "auto"

    @model_validator(mode="after")
    def _fold_exists(self) -> FinetuneConfig:
        if self.fold >= self.folds:
            raise ValueError(
                f"fold {self.fold} does not exist: folds are numbered from 0 to {self.folds - 1}"
            )
        return self
