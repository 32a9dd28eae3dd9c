"""From Hounsfield units to attenuation, and from line integrals to pictures that read as radiographs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unimiss.data.preprocessing import PAPER_CT, is_ct
from unimiss.drr.projector import project
from unimiss.drr.setup import CONE, Beam, Detector, View
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import Image

WATER_PER_MM = 0.0193  # water at 70 keV, the mean energy of a chest film's beam (NIST, XCOM)
_ANATOMY = 0.25  # of the brightest; what has more decides the window, so that skin and table do not
_WINDOW = (1.0, 99.5)  # percentiles of it


def attenuation(hounsfield: Tensor, water: float = WATER_PER_MM) -> Tensor:
    """Linear attenuation in 1/mm of Hounsfield units, any shape: ``water * (1 + HU / 1000)``, never negative.

    That is how Hounsfield units are defined, so it holds for every tissue at the energy of the scan, whose
    mean is near that of a chest film: bone needs no emphasis. Padding below air, and what is not finite, is
    air.
    """
    above_air = torch.where(hounsfield.isfinite(), hounsfield, -1000).add(1000).clamp_(min=0)
    return above_air * (water / 1000)


def radiograph(
    image: Image,
    view: View | str = "frontal",
    beam: Beam = CONE,
    *,
    step: float = 1.0,
    short_side: int | None = None,
    crop: bool = True,
) -> Image:
    """Take a radiograph of a CT.

    The line integrals are the negative logarithm of what a detector counts, which is what films and digital
    radiographs show: air is dark, bone bright. The 1st and 99.5th percentile of all that reaches a quarter of
    the brightest become 0 and 1. Everything in the scan attenuates, the table too. Computed on the GPU where
    there is CUDA.

    Parameters
    ----------
    image : Image
        CT in Hounsfield units, ``(1, depth, height, width)``.
    view : View or str
        "frontal" (head up, the patient's left on the right), "lateral" (head up, front on the left), "axial"
        (as a slice is shown), or any other view.
    beam : Beam
        Cone beam of UniMiSS+, or `PARALLEL`.
    step : float
        Longest distance between samples along a ray, mm.
    short_side : int, optional
        Pixels of the picture's shorter side (224 in UniMiSS+); bicubic.
    crop : bool
        Leave out the rows and columns at the border that are black throughout: air, or a cone beam's rim.

    Returns
    -------
    Image
        float32 from 0 to 1, ``(1, rows, columns)``; spacing in mm at the isocentre, the middle of the scan.

    Raises
    ------
    InputError
        The image is flat, has several channels, does not hold Hounsfield units or holds nothing but air.
    """
    _check(image)
    geometry = image.geometry
    view = View.of(view)
    detector = Detector.covering(geometry, view, beam)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hounsfield = torch.from_numpy(np.asarray(image.array, dtype=np.float32))[None].to(device)
    with torch.inference_mode():
        lines = project(attenuation(hounsfield), geometry, view, beam, detector=detector, step=step)
    picture = lines[0, 0].cpu().numpy()
    if not picture.any():
        raise InputError("the volume holds nothing but air")
    brightest = np.percentile(picture, _WINDOW[1])  # the maximum may be metal
    low, high = np.percentile(picture[picture > _ANATOMY * brightest], _WINDOW)
    if crop:
        filled = picture >= low
        picture = picture[_extent(filled.any(1)), _extent(filled.any(0))]
    spacing = detector.pixel / beam.magnification
    film = Geometry.from_spacing(picture.shape, (spacing, spacing))
    black = low if high > low else 0.0  # where all rays cross as much, they are bright
    shown = np.clip((picture - black) / (high - black), 0, 1).astype(np.float32)
    return _resized(Image(shown[None], film), short_side)


def paper_radiograph(
    volumes: Tensor,
    geometry: Geometry,
    view: View | str = "axial",
    beam: Beam = CONE,
    *,
    short_side: int = 224,
    step: float = 1.0,
) -> Tensor:
    """Radiographs of prepared CT sub-volumes, for the pre-training of UniMiSS+ (Xie et al., TPAMI 2024).

    As in the release, each picture is scaled to [0, 1] by its own minimum and maximum. What is summed is
    attenuation, where the release sums scaled grey values; scaled afterwards, both differ where rays cross
    different lengths of the volume, and by the clipping of what is thinner than air.

    Parameters
    ----------
    volumes : tensor, shape (B, 1, D, H, W)
        CT prepared by `PAPER_CT`, that is HU / 1024.
    geometry : Geometry
        Of one volume of the batch.
    view : View or str
        "axial", as in the release, "frontal", "lateral" or any other view.
    beam : Beam
        How the rays run.
    short_side : int
        Pixels of the pictures' shorter side.
    step : float
        Longest distance between samples along a ray, mm.

    Returns
    -------
    tensor, shape (B, 1, rows, columns)
        float32 from 0 to 1, on the volumes' device; 0 throughout where a volume holds nothing but air.
    """
    view = View.of(view)
    detector = Detector.covering(geometry, view, beam, short_side)
    lines = project(
        attenuation(volumes.float() * PAPER_CT.std + PAPER_CT.mean),
        geometry,
        view,
        beam,
        detector=detector,
        step=step,
    )
    low, high = lines.amin((1, 2, 3), keepdim=True), lines.amax((1, 2, 3), keepdim=True)
    return (lines - low) / (high - low).clamp(min=1e-6)


def _check(image: Image) -> None:
    if image.geometry.ndim != 3:
        raise InputError("a radiograph is made from a volume; this image is flat")
    if image.channels != 1:
        raise InputError(f"a radiograph is made from a CT of one channel; this image has {image.channels}")
    if not is_ct(image):
        raise InputError(
            "a radiograph needs Hounsfield units, in which air is near -1000; the lowest value here is "
            f"{float(np.nanmin(image.array)):g}. An MR image shows no attenuation; a CT stored with an "
            "offset becomes usable when 1024 is subtracted"
        )


def _extent(filled: NDArray[np.bool_]) -> slice:
    """From the first to the last True."""
    where = np.flatnonzero(filled)
    return slice(int(where[0]), int(where[-1]) + 1)


def _resized(image: Image, short_side: int | None) -> Image:
    """Return the picture with another number of pixels on its shorter side."""
    if short_side is None:
        return image
    if short_side < 1:
        raise InputError(f"the short side of a picture needs at least one pixel, found {short_side}")
    old = image.geometry.shape
    rows, columns = (max(1, round(size * short_side / min(old))) for size in old)
    tensor = torch.from_numpy(image.array)[None]
    resized = F.interpolate(tensor, (rows, columns), mode="bicubic", antialias=True)[0].clamp(0, 1)
    spacing = image.geometry.resized((rows, columns)).spacing
    return Image(resized.numpy(), Geometry.from_spacing((rows, columns), spacing))
