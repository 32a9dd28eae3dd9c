"""Settings of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from unimiss.data.datasets import Kind
from unimiss.data.datasets.problems import Acceptable
from unimiss.data.preprocessing import Intensity
from unimiss.finetuning.recipes import RecipeName, applied
from unimiss.models.checkpoint import STARTER
from unimiss.models.presets import Network
from unimiss.settings import Auto
from unimiss.training import Positive, TrainingSettings

PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, BeforeValidator(str)]  # YAML takes the name 1 for a number
Plane = Annotated[int, Field(ge=16)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Interval = tuple[PositiveFloat, PositiveFloat]
Patch = tuple[Plane, Plane] | tuple[Annotated[int, Field(ge=2)], Plane, Plane]

_ONLY_FOR: dict[str, Kind] = {
    "spacing": "segmentation",  # images to classify are resized
    "foreground": "segmentation",
    "crop": "classification",  # a patch to segment is cut out at random anyway
    "balance": "classification",
}


class FinetuneConfig(TrainingSettings):
    """What a fine-tuning does; `auto` values are resolved from data and device and written down.

    Attributes
    ----------
    dataset : Path
        Labelled cases: a folder, or a file that lists them.
    recipe : str
        Whose settings are the defaults: "auto" for these here, or a public data set, see `recipes`, which
        also names its classes.
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
        Which of how many parts of the patients validates, counted from 0; folds of the data set have the
        numbers that it gives them.
    fraction : float
        Share of the training patients that is used.
    holdout : int
        One patient in so many, by name, is never trained on, where there are at least 20, and the data set
        names neither splits nor folds; 0 holds nobody out.
    steps, epochs, minutes : int, float, float
        Length of the training: in steps, or in passes over the training cases, which are written down as
        `steps`; with `minutes` the schedule is annealed to the wall-clock. A case is drawn once in a pass.
    patience : int or None
        End the training after so many validations in a row without a better figure; they are then spread
        over all of it, and not over its last 60 %. There must be more of them.
    patch : tuple of int
        What the network sees at once: a patch of a volume to segment; else the whole image, resized.
    spacing : tuple of float
        Segmentation: voxel size in mm (depth, height, width) that volumes are resampled to.
    intensity : Intensity
        How values of all channels are scaled, here and in predictions. "auto": volumes of CT by the
        Hounsfield units of the labelled voxels, all else by the image's own percentiles.
    batch_size : int
        Patches or images in a step, over all processes.
    lr, weight_decay, eps, clip : float
        Of AdamW: peak learning rate, decay, summand of its denominator, largest gradient norm.
    warmup, schedule : float, "poly", "constant" or "cosine"
        Share of the training in which the learning rate rises, and how it goes on: down to 0 with the power
        0.9 of the share that is left, not at all, or down to 0 as half a cosine.
    layer_decay : float
        Factor of the learning rate from each stage of the encoder to the one before it. 0 freezes the
        encoder, which then needs an `init`: it gets no gradients, and keeps nothing for a backward pass.
    average : float
        Decay, in each step, of the moving average of the weights, which is what is validated and kept; 0 for
        the weights themselves.
    foreground : float
        Segmentation: share of patches that are centred on a labelled class.
    balance : bool
        Classification: count all classes alike, however rare; probabilities are then those of a population
        where they are equally frequent.
    label_smoothing : float
        Share of each target, in the cross-entropy, that is dealt out to all classes evenly.
    mirror : bool
        Flip images in plane; not for classes that tell left from right.
    rotation : float
        Largest angle in plane, in degrees; volumes are tilted out of plane by up to 7 of these. 0: neither.
    scaling : tuple of float
        Smallest and largest factor of an image's size.
    crop : tuple of float or None
        Classification: smallest and largest share of the area that is seen, its sides in a ratio of 3/4 to
        4/3; instead of a shift.
    shift : float
        How far an image is moved along each axis at most, a share of its size. "auto": a tenth of what the
        network sees whole, patches not at all.
    elastic : float
        Share of the samples that are bent smoothly. "auto": 0.3 of patches to segment, no image to classify.
    low_resolution : float
        Share of the samples that lose detail, down to half the resolution; nnU-Net's is 1/4, and 1/2 of the
        channels of each.
    validations, validation_cases : int
        How often, the last time at the end, and on how many cases the model is validated.
    """

    dataset: Path
    recipe: RecipeName = "auto"
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
    epochs: PositiveFloat | None = None
    minutes: PositiveFloat | None = None
    patience: Positive | None = None
    patch: Patch | Auto = "auto"
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | Auto = "auto"
    intensity: Auto | Intensity = "auto"
    batch_size: Positive | Auto = "auto"
    lr: PositiveFloat | Auto = "auto"
    weight_decay: Annotated[float, Field(ge=0)] | Auto = "auto"
    eps: PositiveFloat = 1e-8
    clip: PositiveFloat = 12.0
    warmup: Share = 0.06
    schedule: Literal["poly", "constant", "cosine"] = "poly"
    drop_path: Share = 0.0
    layer_decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    average: Share | Auto = "auto"
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    balance: bool = True
    label_smoothing: Share = 0.0
    mirror: bool = False
    rotation: Degrees = 15.0
    scaling: Interval = (0.8, 1.25)
    crop: Interval | None = None
    shift: Share | Auto = "auto"
    elastic: Annotated[float, Field(ge=0, le=1)] | Auto = "auto"
    low_resolution: Annotated[float, Field(ge=0, le=1)] = 0.15
    validations: Annotated[int, Field(ge=1)] = 4
    validation_cases: Positive | Auto = "auto"

    @model_validator(mode="before")
    @classmethod
    def _by_recipe(cls, values: Any) -> Any:
        return applied(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _for_this_task(self) -> FinetuneConfig:
        for name, task in _ONLY_FOR.items():
            if task != self.task and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for {task}, and the task is {self.task}")
        return self

    @model_validator(mode="after")
    def _has_an_effect(self) -> FinetuneConfig:
        if self.layer_decay == 0 and self.init is None:
            raise ValueError("layer_decay = 0 freezes the encoder, which without 'init' has learned nothing")
        if self.patience is not None and self.patience >= self.validations:
            raise ValueError(
                f"patience = {self.patience} is never at an end with validations = {self.validations}; "
                "take a smaller one, none (null), or more validations"
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> FinetuneConfig:
        if self.steps != "auto" and self.epochs is not None:
            raise ValueError(
                f"steps = {self.steps} and epochs = {self.epochs:g} both say how long; leave one out"
            )
        return self

    @field_validator("scaling", "crop")
    @classmethod
    def _ascending(cls, value: Interval | None) -> Interval | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("the smaller value comes first")
        return value

    @field_validator("crop")
    @classmethod
    def _within_the_image(cls, value: Interval | None) -> Interval | None:
        if value is not None and value[1] > 1:
            raise ValueError("a share of the area is at most 1")
        return value

    @field_validator("intensity")
    @classmethod
    def _usable(cls, value: Auto | Intensity) -> Auto | Intensity:
        if value == "auto":
            return value
        if value.scheme == "hounsfield":
            raise ValueError("'hounsfield' is fitted to the cases; the scheme of given values is 'fixed'")
        if not value.low < value.high or value.std <= 0:
            raise ValueError("'low' must be below 'high', and 'std' above 0")
        if value.scheme == "percentile" and not 0 <= value.low < value.high <= 100:
            raise ValueError("percentiles go from 0 to 100")
        return value
