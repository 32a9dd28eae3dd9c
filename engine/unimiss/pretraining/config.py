"""Settings of a pre-training, and what `auto` becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from unimiss.models.presets import Network
from unimiss.settings import Auto
from unimiss.training import Positive, TrainingSettings

Share = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ViewSize2d = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]
ViewSize3d = tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]
Spacing = tuple[PositiveFloat, PositiveFloat, PositiveFloat] | Literal["native"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
DropPath = Annotated[float, Field(ge=0, lt=1)]
DrrViews = tuple[Literal["axial", "frontal", "lateral"], ...]


class PretrainConfig(TrainingSettings):
    """What a pre-training does; `auto` values are resolved from data and device and written down.

    Attributes
    ----------
    images, volumes : list of Path
        Files, folders or text lists of radiographs and of volumes; either may be empty. Of a volume with
        several channels, such as MR sequences, one is drawn for each pair of views.
    network : "tiny", "small" or "plus"
        Size of MiT.
    objective : "unimiss" or "unimiss+"
        Self-distillation within and across dimensions; with the plus, also from radiographs of the CTs, and
        reconstruction.
    preset : "auto", "paper" or "demo"
        What `auto` values become.
    steps : int
        Optimisation steps.
    batch_2d, batch_3d : int
        Images in a step, over all processes.
    accumulate_2d, accumulate_3d : int
        Parts that a step's images go through the network in, one after another: less memory, the same step.
    size_2d, size_3d : tuple of int
        Size of a view.
    spacing : tuple of float or "native"
        Voxel size in mm (depth, height, width) that volumes are resampled to; "native" leaves each as it is.
    central_crop, crop_above : float, int
        Share in plane of a volume's middle that is trained on, where it has more pixels than `crop_above`.
    least_plane : int
        Pixels in plane that smaller volumes are padded to with 0 (HU) at their end.
    weighting : "size" or "stride"
        How often a volume is seen in a pass. Size: once for each view that fits into it side by side, at most
        64 times. Stride: once for each of the paper's sub-volumes, which begin every fourth slice.
    mixing : "epoch" or "step"
        Whether the dimensions take turns, or their steps are spread evenly over those turns.
    epoch_2d, epoch_3d : int
        Steps in an epoch; the dimension changes every `epochs_each` epochs, 2D first in UniMiSS and 3D first
        in UniMiSS+.
    outputs : int
        Prototypes of the head.
    lr, warmup, weight_decay, momentum : float, int, pair of float, float
        Of the schedules: peak learning rate, warm-up steps, first and last weight decay, the teacher's
        first momentum (it ends at 1).
    clip, clip_each : float, bool
        Largest gradient norm, of all parameters together or of each; 0 for no limit.
    freeze_last : int
        Steps in which the head's last layer stays.
    center_each_term : bool
        The order of center updates of UniMiSS's release.
    shared_center : bool
        Whether 2D and 3D images share the center, as in the release. Where they do, the center has to move
        after every change of dimension, and two prototypes, one for each dimension, pass for an even use.
    center_from_first : bool
        Whether the center begins at the mean score of the first batch instead of 0.
    drr_views : tuple of "axial", "frontal" and "lateral"
        UniMiSS+: from where radiographs of CTs are taken; a step shows one of them, drawn at random. `auto`
        means frontal and lateral, or along the slices where the volumes are flat.
    drr_weight, slices_weight, reconstruction_weight : float
        UniMiSS+: weights of the terms `loss_drr_volume`, `loss_slices_volume` and `loss_reconstruction_…`.
    drop_path, decoder_drop_path : float
        Stochastic depth of the last block of encoder and decoder.
    holdout : int
        One patient in so many, by name, is never trained on; 0 holds nobody out.
    workers : int
        Processes that prepare views.
    signals_every : int
        Steps between looks at teacher and features; see `signals.measure`.
    probe : Path or None
        Folder with one folder of radiographs for each class: at every checkpoint a linear and a
        nearest-neighbour classifier on the frozen features are tested on its held-out patients;
        `checkpoints/best` follows the linear one.
    keep_checkpoints : int
        How many of the last checkpoints stay, besides `last` itself, as `step-…`.
    """

    images: list[Path] = []
    volumes: list[Path] = []
    network: Network = "tiny"
    objective: Literal["unimiss", "unimiss+"] = "unimiss"
    preset: Literal["auto", "paper", "demo"] = "auto"
    steps: Positive | Auto = "auto"
    batch_2d: Positive | Auto = "auto"
    batch_3d: Positive | Auto = "auto"
    accumulate_2d: Positive = 1
    accumulate_3d: Positive = 1
    size_2d: ViewSize2d | Auto = "auto"
    size_3d: ViewSize3d | Auto = "auto"
    spacing: Spacing | Auto = "auto"
    central_crop: Annotated[float, Field(gt=0, le=1)] | Auto = "auto"
    crop_above: Annotated[int, Field(ge=0)] | Auto = "auto"
    least_plane: Annotated[int, Field(ge=0, le=4096)] | Auto = "auto"
    weighting: Literal["size", "stride"] | Auto = "auto"
    mixing: Literal["epoch", "step"] | Auto = "auto"
    epoch_2d: Positive | Auto = "auto"
    epoch_3d: Positive | Auto = "auto"
    epochs_each: Positive | Auto = "auto"
    outputs: Annotated[int, Field(ge=2)] | Auto = "auto"
    student_temperature: PositiveFloat = 0.1
    teacher_temperature: PositiveFloat | Auto = "auto"
    momentum: Share | Auto = "auto"
    lr: PositiveFloat | Auto = "auto"
    final_lr: PositiveFloat = 1e-6
    warmup: Annotated[int, Field(ge=0)] | Auto = "auto"
    weight_decay: tuple[Weight, Weight] = (0.04, 0.4)
    clip: Weight | Auto = "auto"
    clip_each: bool | Auto = "auto"
    freeze_last: Annotated[int, Field(ge=0)] | Auto = "auto"
    center_each_term: bool = False
    shared_center: bool | Auto = "auto"
    center_from_first: bool | Auto = "auto"
    drr_views: DrrViews | Auto = "auto"
    drr_weight: Weight = 0.5
    slices_weight: Weight = 0.1
    reconstruction_weight: Weight = 5.0
    drop_path: DropPath = 0.0
    decoder_drop_path: DropPath | Auto = "auto"
    holdout: Annotated[int, Field(ge=0)] = 5
    workers: Annotated[int, Field(ge=0)] | Auto = "auto"
    signals_every: Positive = 10
    probe: Path | None = None
    keep_checkpoints: Annotated[int, Field(ge=0)] = 0
    init: Path | None = None

    @model_validator(mode="after")
    def _has_data(self) -> PretrainConfig:
        if not self.images and not self.volumes:
            raise ValueError("give radiographs with --images, volumes with --volumes, or both")
        return self

    @model_validator(mode="after")
    def _fits_the_objective(self) -> PretrainConfig:
        if self.objective == "unimiss+" and self.center_each_term:
            raise ValueError("center_each_term is the order of UniMiSS; with unimiss+ it moves once a step")
        if self.objective == "unimiss" and self.drr_views not in ("auto", ()):
            raise ValueError("drr_views belongs to the objective unimiss+")
        if len(set(self.drr_views)) < len(self.drr_views) and self.drr_views != "auto":
            raise ValueError("drr_views names a view twice")
        return self
