"""Labelled cases into the cache, and what the data set says about spacing, patch and intensities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from unimiss.data.cache import Arrays, Cache, cache_key
from unimiss.data.cases import Case
from unimiss.data.datasets import mask_values
from unimiss.data.patches import class_points
from unimiss.data.preprocessing import BY_PERCENTILE, HOUNSFIELD, Intensity, Preprocessing, is_ct
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.geometry import Geometry
from unimiss.io import Image, read
from unimiss.io.probe import probe
from unimiss.settings import known

_NATIVE_PLANE = 96  # MiT's grids are a quarter of the image's: smaller images are enlarged, to twice at most
_PATCH_VOXELS = {"cpu": 32 * 96 * 96, "cuda": 48 * 192 * 192}
_SQUARE = (224, 224)

Report = Callable[[float], None]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class PreparedCase:
    """A case in the cache.

    Attributes
    ----------
    case : Case
        Where it came from.
    key : str
        Its folder in the cache: "image" (C, *grid), "label" (1, *grid), "points" (N, 1 + axes).
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
    labels: dict[int, str],
    cache: Cache,
    report: Report,
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
    first, image = _first_readable(cases)
    storing = _storing(image, config)
    recipe = f"finetune|{storing.model_dump_json()}|{sorted(labels)}"
    prepared = []
    for i, case in enumerate(cases):
        try:
            files = (*case.images, *case.masks)
            key = cache_key(files, recipe)
            opened = image if case is first else None  # not decoded a second time
            cache.ensure(key, partial(_prepare, case, opened, storing, labels))
            prepared.append(PreparedCase(case, key))
        except InputError as error:
            warn(f"left out: {error}")
        report((i + 1) / len(cases))
    if not prepared:
        raise InputError(f"none of the {len(cases)} labelled cases can be used, first {cases[0].image}")
    return prepared, storing


def fit_intensity(storing: Preprocessing, training: Sequence[PreparedCase], cache: Cache) -> Preprocessing:
    """Fit CT intensities to the labelled voxels of the training cases: 0.5 to 99.5 %, mean, spread."""
    if storing.intensity.scheme != "hounsfield":
        return storing
    values = []
    for case in training:
        image, points = cache.open(case.key, "image")[:], cache.open(case.key, "points")[:]
        values.append(image[0][tuple(points[:, 1:].T)])
    found = np.concatenate(values).astype(np.float32)
    if found.size == 0:
        return storing.model_copy(update={"intensity": HOUNSFIELD.model_copy(update={"std": 1024.0})})
    low, high = (float(v) for v in np.percentile(found, (0.5, 99.5)))
    fitted = Intensity(
        scheme="hounsfield", low=low, high=high, mean=float(found.mean()), std=max(float(found.std()), 1.0)
    )
    return storing.model_copy(update={"intensity": fitted})


def _first_readable(cases: Sequence[Case]) -> tuple[Case, Image]:
    for case in cases:
        try:
            return case, read(case.image)
        except InputError:
            continue  # `prepare_cases` names it
    raise InputError(f"none of the {len(cases)} images can be read, first {cases[0].image}")


def _storing(image: Image, config: FinetuneConfig) -> Preprocessing:
    """How the cache stores cases that are like `image`."""
    if image.geometry.ndim == 2:
        height, width = known(config.patch)[:2]
        return Preprocessing(size=(height, width), intensity=BY_PERCENTILE, channels=3)
    intensity = HOUNSFIELD if is_ct(image) else BY_PERCENTILE
    return Preprocessing(spacing=known(config.spacing), intensity=intensity, channels=image.channels)


def _prepare(case: Case, opened: Image | None, storing: Preprocessing, labels: dict[int, str]) -> Arrays:
    image = opened or read(case.image)
    (mask,) = case.masks
    label = read(mask)
    difference = image.geometry.difference(label.geometry)
    if difference and not (image.geometry.ndim == 2 and image.geometry.shape == label.geometry.shape):
        raise InputError(f"{mask} does not lie on its image {case.image.name}: {difference}")
    unknown = sorted(mask_values(label) - set(labels))
    if unknown:
        raise InputError(f"{mask} holds the values {unknown[:5]}, which the data set does not name")
    array = storing.prepare(image)
    classes = storing.prepare_labels(label, list(labels))
    stored = array.astype(np.int16 if storing.intensity.scheme == "hounsfield" else np.float16)
    return {"image": stored, "label": classes, "points": class_points(classes, len(labels))}
