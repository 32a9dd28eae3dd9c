"""Labelled cases into the cache, and what they say about intensities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unimiss.data.cache import Arrays, Cache
from unimiss.data.cases import Case, joined
from unimiss.data.datasets import UNKNOWN, Dataset, read_mask
from unimiss.data.filling import Job, Progress, fill
from unimiss.data.grids import mismatch
from unimiss.data.patches import class_points, known_points
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
from unimiss.finetuning.modality import Kind, kinds_of, name_odd_ones
from unimiss.io import read
from unimiss.settings import known

Warn = Callable[[str], None]

_HALF_PRECISE = 8.0  # below, float16 is exact to 0.002: far less than the noise of an image whose spread is 1


@dataclass(frozen=True)
class PreparedCase:
    """A case in the cache.

    Attributes
    ----------
    case : Case
        Where it came from.
    key : str
        Its folder in the cache: "image" (C, *grid); of a case with masks "label" (1, *grid) or, of
        overlapping classes, (classes, *grid). "points" (N, 1 + axes): where its classes are, of a CT
        without masks anywhere. Of a data set that is labelled in part "known" (N, axes): where anything is
        labelled. Of volumes "ct" (files,): which of them look like CT.
    """

    case: Case
    key: str


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
        For the checkpoint: its intensity, applied to what the cache holds, gives the network's input. CT that
        is to be fitted is stored in Hounsfield units, everything else is stored already scaled.
    """
    kinds = kinds_of(dataset, cache, progress, warn)
    storing = _storing(kinds, config)
    classes = f"{sorted(dataset.labels)}|{dataset.values}|{dataset.overlapping}"
    if dataset.unknown:
        classes += f"|unknown {dataset.unknown}"
    if dataset.kind == "classification":
        classes = dataset.kind  # which classes there are changes nothing in the cache
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
    if config.intensity == "auto":
        of_volumes = [one for one in prepared if cache.holds(one.key, "ct")]
        looks = [(one.case, cache.open(one.key, "ct")[:].tolist()) for one in of_volumes]
        name_odd_ones(kinds, looks, dataset.name, warn)
    return prepared, storing


def fit_intensity(storing: Preprocessing, training: Sequence[PreparedCase], cache: Cache) -> Preprocessing:
    """Fit CT intensities to the points of the training cases: 0.5 to 99.5 %, mean, spread."""
    channels = _channels(storing.intensity)
    if all(one.scheme != "hounsfield" for one in channels):
        return storing
    values = []
    for case in training:
        image, points = cache.open(case.key, "image")[:], cache.open(case.key, "points")[:]
        labelled = points[points[:, 0] > 0, 1:]
        values.append(image[(slice(None), *labelled.T)])
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


def _storing(kinds: Sequence[Kind], config: FinetuneConfig) -> Preprocessing:
    """How the cache stores cases whose files are of these kinds."""
    files, channels = len(kinds), sum(kind.channels for kind in kinds)
    flat = kinds[0].flat
    if flat and files == 1:
        channels = 3
    if config.intensity != "auto":
        intensity: Scaling = config.intensity
    elif files > 1 and any(kind.ct for kind in kinds):
        schemes = [HOUNSFIELD if kind.ct else BY_PERCENTILE for kind in kinds for _ in range(kind.channels)]
        intensity = _joined(schemes)
    else:
        intensity = HOUNSFIELD if kinds[0].ct else BY_PERCENTILE
    if flat or config.spacing == "auto":  # a spacing is resolved where patches are cut out of volumes
        return Preprocessing(size=known(config.patch), intensity=intensity, channels=channels, files=files)
    return Preprocessing(spacing=config.spacing, intensity=intensity, channels=channels, files=files)


def _stored_type(channels: Sequence[Intensity]) -> type[np.generic]:
    """Numbers in which the cache holds images: the smallest that lose nothing that matters."""
    if all(one.scheme == "hounsfield" for one in channels):
        return np.int16  # half precision loses half of a Hounsfield unit from 1024 on
    fixed = [one for one in channels if one.scheme == "fixed"]
    largest = max((abs(end - one.mean) / one.std for one in fixed for end in (one.low, one.high)), default=0)
    return np.float16 if largest <= _HALF_PRECISE else np.float32


def _prepare(case: Case, storing: Preprocessing, dataset: Dataset) -> Arrays:
    files = [read(path) for path in case.images]
    ct = np.array([is_ct(file) for file in files], np.uint8)
    image = joined(case.images, files)
    array = storing.prepare(image)
    stored = array.astype(_stored_type(_channels(storing.intensity)))
    arrays: dict[str, NDArray[np.generic]] = {"image": stored}
    if image.geometry.ndim == 3:
        arrays["ct"] = ct
    if not case.masks:  # CT is scaled by places anywhere in it
        anywhere = np.ones((1, *array.shape[1:]), np.uint8)
        fits = any(one.scheme == "hounsfield" for one in _channels(storing.intensity))
        return arrays | ({"points": class_points(anywhere, 2)} if fits else {})
    mask = read_mask(case, dataset)
    difference = mismatch(image.geometry, mask.geometry)
    if difference:
        raise InputError(f"{case.masks[0]} does not lie on its image {case.image.name}: {difference}")
    values = [0, 1] if dataset.overlapping else list(dataset.labels)
    if not dataset.unknown:
        classes = storing.prepare_labels(mask, values)
        return arrays | {"label": classes, "points": class_points(classes, len(dataset.labels))}
    classes = storing.prepare_labels(mask, values, UNKNOWN if dataset.overlapping else dataset.unknown[0])
    known = known_points(classes)
    if not len(known):
        size = " x ".join(map(str, classes.shape[1:]))
        raise InputError(f"{case.masks[0]} labels nothing, not even background, at {size} voxels")
    points = class_points(classes, len(dataset.labels))
    return arrays | {"label": classes, "points": points, "known": known}
