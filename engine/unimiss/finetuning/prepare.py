"""Labelled cases into the cache, and what the data set says about spacing, patch and intensities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimiss.data.cache import Arrays, Cache
from unimiss.data.cases import Case, read_image
from unimiss.data.datasets import Dataset, read_mask
from unimiss.data.filling import Job, Progress, fill
from unimiss.data.grids import mismatch
from unimiss.data.patches import class_points
from unimiss.data.preprocessing import (
    BY_PERCENTILE,
    HOUNSFIELD,
    Intensities,
    Intensity,
    Preprocessing,
    Scaling,
    is_ct,
)
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.geometry import Geometry
from unimiss.io import Image, read
from unimiss.io.probe import probe
from unimiss.settings import known

_NATIVE_PLANE = 96  # MiT's grids are a quarter of the image's: smaller images are enlarged, to twice at most
_PATCH_VOXELS = {"cpu": 32 * 96 * 96, "cuda": 48 * 192 * 192}
_SQUARE = (224, 224)

Warn = Callable[[str], None]


@dataclass(frozen=True)
class PreparedCase:
    """A case in the cache.

    Attributes
    ----------
    case : Case
        Where it came from.
    key : str
        Its folder in the cache: "image" (C, *grid), "label" (1, *grid) or, of
        overlapping classes, (classes, *grid), "points" (N, 1 + axes).
    """

    case: Case
    key: str


def resolve_grid(config: FinetuneConfig, cases: Sequence[Case], processes: int) -> FinetuneConfig:
    """Choose voxel size, patch and a batch that `processes` share, from the headers of the images."""
    geometries = _grids(cases)
    dimensions = {geometry.ndim for geometry in geometries}
    if len(dimensions) != 1:
        raise InputError(f"{config.dataset} mixes volumes and flat images; put them into two data sets")
    gpu = torch.cuda.is_available()
    values: dict[str, Any] = {}
    if dimensions == {2}:
        values = {"patch": _SQUARE, "batch_size": 16 if gpu else 8}
    else:
        spacings = np.array([geometry.spacing for geometry in geometries])
        extents = np.array([np.multiply(g.shape, g.spacing) for g in geometries])
        spacing, extent = np.median(spacings, axis=0), np.median(extents, axis=0)
        enlarge = float(np.clip(_NATIVE_PLANE / (extent / spacing)[1:].max(), 1, 2))
        spacing[1:] /= enlarge
        if config.spacing != "auto":
            spacing = np.array(config.spacing)
        values["spacing"] = tuple(float(round(v, 4)) for v in spacing)
        values["patch"] = fit_patch(extent / spacing, _PATCH_VOXELS["cuda" if gpu else "cpu"])
        values["batch_size"] = 2
    values["batch_size"] = -(-values["batch_size"] // processes) * processes
    dimension = max(dimensions)
    if config.patch != "auto" and len(config.patch) != dimension:
        raise InputError(f"patch = {list(config.patch)} does not fit: the images have {dimension} axes")
    auto = {name: value for name, value in values.items() if getattr(config, name) == "auto"}
    return FinetuneConfig.build({**config.model_dump(), **auto})


def _grids(cases: Sequence[Case]) -> list[Geometry]:
    found = []
    for case in cases:
        try:
            found.append(probe(case.image))
        except InputError:
            continue  # `prepare_cases` names it
    if not found:
        raise InputError(f"none of the {len(cases)} images can be read, first {cases[0].image}")
    return found


def fit_patch(grid: Sequence[float], limit: int) -> tuple[int, ...]:
    """Return the largest patch for volumes of a median grid: multiples of 16 deep and 32 in plane.

    Where it would have more than `limit` voxels, its relatively largest axis shrinks first.
    """
    steps = np.array([16, 32, 32])
    patch = np.maximum(1, np.rint(np.array(grid) / steps)) * steps
    while patch.prod() > limit and (patch > steps).any():
        largest = np.argmax(np.where(patch > steps, patch / steps, 0))
        patch[largest] -= steps[largest]
    return tuple(int(n) for n in patch)


def prepare_cases(
    cases: Sequence[Case],
    config: FinetuneConfig,
    dataset: Dataset,
    cache: Cache,
    progress: Progress,
    warn: Warn,
) -> tuple[list[PreparedCase], Preprocessing]:
    """Put every usable case into the cache; what cannot be used is named by `warn` and left out.

    Returns
    -------
    list of PreparedCase
        In the order of `cases`.
    Preprocessing
        For the checkpoint: its intensity, applied to what the cache holds, gives the network's input. CT is
        stored in Hounsfield units, everything else is stored already scaled.
    """
    storing = _storing(_first_readable(cases), dataset.channels, config)
    classes = f"{sorted(dataset.labels)}|{dataset.values}|{dataset.overlapping}"
    recipe = f"finetune|{storing.model_dump_json()}|{classes}"
    bare = replace(dataset, cases=(), problems=())  # each job goes to another process
    jobs = [Job((*case.images, *case.masks), partial(_prepare, case, storing, bare)) for case in cases]
    prepared = []
    for case, result in zip(cases, fill(cache, jobs, recipe, progress), strict=True):
        if isinstance(result, InputError):
            warn(f"left out: {result}")
        else:
            prepared.append(PreparedCase(case, result))
    if not prepared:
        raise InputError(f"none of the {len(cases)} labelled cases can be used, first {cases[0].image}")
    return prepared, storing


def fit_intensity(storing: Preprocessing, training: Sequence[PreparedCase], cache: Cache) -> Preprocessing:
    """Fit CT intensities to the labelled voxels of the training cases: 0.5 to 99.5 %, mean, spread."""
    channels = _channels(storing.intensity)
    if all(one.scheme != "hounsfield" for one in channels):
        return storing
    values = []
    for case in training:
        image, points = cache.open(case.key, "image")[:], cache.open(case.key, "points")[:]
        values.append(image[(slice(None), *points[:, 1:].T)])
    found = np.concatenate(values, axis=1).astype(np.float32)
    fitted = [
        _fitted(own) if one.scheme == "hounsfield" else one
        for one, own in zip(channels, found, strict=isinstance(storing.intensity, Intensities))
    ]
    return storing.model_copy(update={"intensity": _joined(fitted)})


def _fitted(values: NDArray[np.float32]) -> Intensity:
    if values.size == 0:
        return HOUNSFIELD.model_copy(update={"std": 1024.0})
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    mean, std = float(values.mean()), max(float(values.std()), 1.0)
    return Intensity(scheme="hounsfield", low=low, high=high, mean=mean, std=std)


def _channels(intensity: Scaling) -> tuple[Intensity, ...]:
    return intensity.channels if isinstance(intensity, Intensities) else (intensity,)


def _joined(channels: Sequence[Intensity]) -> Scaling:
    return channels[0] if len(channels) == 1 else Intensities(channels=tuple(channels))


def _first_readable(cases: Sequence[Case]) -> list[Image]:
    for case in cases:
        try:
            return [read(path) for path in case.images]
        except InputError:
            continue  # `prepare_cases` names it
    raise InputError(f"none of the {len(cases)} images can be read, first {cases[0].image}")


def _storing(images: Sequence[Image], names: Sequence[str], config: FinetuneConfig) -> Preprocessing:
    """How the cache stores cases that are like that of `images`, whose channels have these names."""
    files, channels = len(images), sum(image.channels for image in images)
    if images[0].geometry.ndim == 2:
        height, width = known(config.patch)[:2]
        channels = 3 if files == 1 else channels
        return Preprocessing(size=(height, width), intensity=BY_PERCENTILE, channels=channels, files=files)
    if files == 1:  # the channels of one file are of one kind
        intensity: Scaling = HOUNSFIELD if is_ct(images[0]) else BY_PERCENTILE
    else:
        named = [*names, *[""] * files][:files]
        kinds = [
            HOUNSFIELD if name.upper() == "CT" or is_ct(image) else BY_PERCENTILE
            for name, image in zip(named, images, strict=True)
            for _ in range(image.channels)
        ]
        intensity = _joined(kinds) if HOUNSFIELD in kinds else BY_PERCENTILE
    spacing = known(config.spacing)
    return Preprocessing(spacing=spacing, intensity=intensity, channels=channels, files=files)


def _prepare(case: Case, storing: Preprocessing, dataset: Dataset) -> Arrays:
    image, mask = read_image(case.images), read_mask(case, dataset)
    difference = mismatch(image.geometry, mask.geometry)
    if difference:
        raise InputError(f"{case.masks[0]} does not lie on its image {case.image.name}: {difference}")
    array = storing.prepare(image)
    classes = storing.prepare_labels(mask, [0, 1] if dataset.overlapping else list(dataset.labels))
    whole = all(one.scheme == "hounsfield" for one in _channels(storing.intensity))
    stored = array.astype(np.int16 if whole else np.float16)  # half of a Hounsfield unit is lost from 1024 on
    return {"image": stored, "label": classes, "points": class_points(classes, len(dataset.labels))}
