"""Settings of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from unimiss.data.datasets.problems import Acceptable
from unimiss.models.presets import Network
from unimiss.settings import Auto
from unimiss.training import Positive, TrainingSettings

PositiveFloat = Annotated[float, Field(gt=0)]
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
    task : "segmentation"
        What is learned.
    init : Path or None
        Pre-trained backbone or segmentation model to start from; none for random weights.
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
        Size of a training patch; of the whole resized image for radiographs.
    spacing : tuple of float
        Voxel size in mm (depth, height, width) that volumes are resampled to.
    batch_size : int
        Patches in a step, over all processes.
    lr, weight_decay, clip : float
        Of AdamW: peak learning rate (polynomial decay 0.9 after a warm-up), decay, largest gradient norm.
    foreground : float
        Share of patches that are centred on a labelled class.
    mirror : bool
        Flip patches in plane; not for classes that tell left from right.
    validations, validation_cases : int
        How often, and on how many cases, the model is validated.
    """

    dataset: Path
    labels: dict[Name, Name] = {}
    ignore: list[Name] = []
    accept: list[Acceptable] = []
    task: Literal["segmentation"] = "segmentation"
    init: Path | None = None
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
    lr: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 3e-5
    clip: PositiveFloat = 12.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    mirror: bool = False
    validations: Annotated[int, Field(ge=1)] = 5
    validation_cases: Positive = 12

    @model_validator(mode="after")
    def _fold_exists(self) -> FinetuneConfig:
        if self.fold >= self.folds:
            raise ValueError(
                f"fold {self.fold} does not exist: folds are numbered from 0 to {self.folds - 1}"
            )
        return self
