"""From files to prepared cases in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from unimiss.data.cache import Arrays, Cache
from unimiss.data.cases import is_held_out, patient_of
from unimiss.data.filling import Job, Progress, fill
from unimiss.data.preprocessing import BY_PERCENTILE, PAPER_CT, Preprocessing, is_ct
from unimiss.drr import CONE, View, paper_radiograph
from unimiss.drr.setup import shadow
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import Image, read
from unimiss.io.probe import probe

_LARGEST_PICTURE = 512
_DRR_SIDE = 224  # pixels of a radiograph's shorter side, fewer where the longer one would exceed the largest
_SMALLEST = {2: (16, 16), 3: (4, 16, 16)}

Spacing = tuple[float, float, float] | Literal["native"]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A case that is in the cache.

    Attributes
    ----------
    path : Path
        The image file.
    key : str
        Its folder in the cache, which holds the array "image", float16 (C, *grid).
    has_drr : bool
        Whether radiographs of it lie there too, as `drr_array` names them, float16 (1, rows, columns) in
        [0, 1]: the views of one volume differ in size.
    weight : int
        How often it is seen in a pass over all images.
    """

    path: Path
    key: str
    has_drr: bool = False
    weight: int = 1


@dataclass(frozen=True)
class Frame:
    """What of a volume is kept in plane; see the settings of the same names in `PretrainConfig`."""

    central_crop: float = 1.0
    crop_above: int = 0
    least_plane: int = 0

    def apply(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop (1, depth, height, width) to its middle, then pad it with 0 at its end."""
        kept = [slice(None), slice(None)]
        for n in array.shape[2:]:
            inside = round(n * self.central_crop) if n > self.crop_above else n
            kept.append(slice((n - inside) // 2, (n - inside) // 2 + inside))
        array = array[tuple(kept)]
        lacking = [(0, max(0, self.least_plane - n)) for n in array.shape[2:]]
        return np.pad(array, [(0, 0), (0, 0), *lacking])


@dataclass(frozen=True)
class Preparation:
    """What became of images.

    Attributes
    ----------
    cases : list of Prepared
        Those that can be trained on, in the order of their paths.
    left_out : dict of Path to str
        The others, each with a sentence that says why.
    """

    cases: list[Prepared]
    left_out: dict[Path, str]


def drr_array(view: str) -> str:
    """Name in the cache of a volume's radiograph."""
    return f"drr_{view}"


def keep_trainable(paths: Sequence[Path], holdout: int) -> tuple[list[Path], list[Path]]:
    """Split files into those that may be trained on and those of held-out patients."""
    kept = [path for path in paths if not is_held_out(patient_of(path), holdout)]
    held = [path for path in paths if is_held_out(patient_of(path), holdout)]
    return kept, held


def median_grid(volumes: Sequence[Path]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Median spacing (mm) and median extent (mm) of volumes, from their headers; damaged ones count not."""
    spacings, extents = [], []
    for path in volumes:
        try:
            geometry = probe(path)
        except InputError:
            continue  # `prepare_all` names it
        if geometry.ndim == 3:
            spacings.append(geometry.spacing)
            extents.append(np.multiply(geometry.shape, geometry.spacing))
    if not spacings:
        raise InputError(f"none of the {len(volumes)} volumes can be read, first {volumes[0]}")
    return tuple(np.median(spacings, axis=0).tolist()), tuple(np.median(extents, axis=0).tolist())


def prepare_all(
    paths: Sequence[Path],
    spacing: Spacing | None,
    cache: Cache,
    progress: Progress,
    warn: Warn,
    drr_views: Sequence[str] = (),
    frame: Frame = Frame(),
) -> Preparation:
    """Put every image into the cache; what cannot be used is named by `warn` and left out.

    Parameters
    ----------
    paths : sequence of Path
        Image files.
    spacing : tuple of float, "native" or None
        Of volumes, mm; None for radiographs.
    cache : Cache
        Where prepared arrays lie.
    progress : callable
        Receives the finished share, 0 to 1; what it raises ends the work.
    warn : callable
        Receives a sentence for each image that is left out, and one about volumes that are no CT where
        radiographs of them are wanted.
    drr_views : sequence of str
        Views of `unimiss.drr` by which radiographs are taken of each CT, of all of it.
    frame : Frame
        What of a volume is kept in plane.

    Raises
    ------
    InputError
        No image is left.
    """
    recipe = f"pretrain|{spacing}" + (f"|drr {','.join(drr_views)}" if drr_views else "")
    recipe += "" if frame == Frame() else f"|{frame}"
    jobs = [Job((path,), partial(_prepare, path, spacing, tuple(drr_views), frame)) for path in paths]
    found = Preparation([], {})
    for path, result in zip(paths, fill(cache, jobs, recipe, progress), strict=True):
        if isinstance(result, InputError):
            warn(f"left out: {result}")
            found.left_out[path] = str(result)
        else:
            has_drr = bool(drr_views) and cache.holds(result, drr_array(drr_views[0]))
            found.cases.append(Prepared(path, result, has_drr))
    if paths and not found.cases:
        raise InputError(f"none of the {len(paths)} images can be used, first {paths[0]}")
    without = [case for case in found.cases if not case.has_drr] if drr_views else []
    if without:
        warn(
            f"{len(without)} of {len(found.cases)} volumes hold no Hounsfield units and are trained on "
            f"without radiographs of them, first {without[0].path}"
        )
    return found


def _prepare(path: Path, spacing: Spacing | None, drr_views: Sequence[str], frame: Frame) -> Arrays:
    image = read(path)
    dimension = 2 if spacing is None else 3
    if image.geometry.ndim == 3 and dimension == 2 and image.geometry.shape[0] == 1:
        raise InputError(f"{path} is a volume of one slice; save it as a flat image")
    if image.geometry.ndim != dimension:
        kind = "a flat image among the volumes" if dimension == 3 else "a volume among the flat images"
        raise InputError(f"{path} is {kind}; name it with {'--images' if dimension == 3 else '--volumes'}")
    array = _settings(image, spacing).prepare(image)
    if any(n < least for n, least in zip(array.shape[1:], _SMALLEST[dimension], strict=True)):
        raise InputError(f"{path} is too small to learn from: {array.shape[1:]}")
    if float(array.std()) < 1e-5:
        raise InputError(f"{path} is constant: every value is the same")
    kept = array if dimension == 2 else frame.apply(array)
    arrays = {"image": kept.astype(np.float16)}
    if drr_views and is_ct(image) and image.channels == 1:
        arrays |= _radiographs(array, image.geometry.resized(array.shape[1:]), drr_views)
    return arrays


def _radiographs(
    array: NDArray[np.float32], geometry: Geometry, views: Sequence[str]
) -> dict[str, NDArray[np.float16]]:
    """Radiographs of a CT prepared by `PAPER_CT`, (1, depth, height, width), by their names in the cache."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    volume = torch.from_numpy(array)[None].to(device)
    with torch.inference_mode():
        pictures = {
            view: paper_radiograph(volume, geometry, view, short_side=_short_side(geometry, view))[0]
            for view in views
        }
    return {drr_array(view): picture.half().cpu().numpy() for view, picture in pictures.items()}


def _short_side(geometry: Geometry, view: str) -> int:
    extent = shadow(geometry, View.of(view), CONE)
    return max(_SMALLEST[2][0], min(_DRR_SIDE, int(_LARGEST_PICTURE * extent.min() / extent.max())))


def _settings(image: Image, spacing: Spacing | None) -> Preprocessing:
    if spacing is not None:
        spacing = cast(tuple[float, float, float], image.geometry.spacing if spacing == "native" else spacing)
        scheme = PAPER_CT if is_ct(image) else BY_PERCENTILE
        return Preprocessing(spacing=spacing, intensity=scheme, channels=image.channels)
    longest = max(image.geometry.shape)
    scale = min(1.0, _LARGEST_PICTURE / longest)
    height, width = (max(1, round(n * scale)) for n in image.geometry.shape)
    return Preprocessing(
        size=(height, width), intensity=BY_PERCENTILE, channels=3 if _is_coloured(image) else 1
    )


def _is_coloured(image: Image) -> bool:
    """Whether the three channels differ: many radiographs are stored as colour pictures."""
    return image.channels == 3 and not all((image.array[0] == channel).all() for channel in image.array[1:])
