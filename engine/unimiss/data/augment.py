"""Random changes of labelled patches and images, a whole batch at once on its device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

T = TypeVar("T", Tensor, None)

_MAX_TILT = 7.0  # degrees out of plane: slices are thick, and little of a tilted one stays in the patch
_ASPECT = 4 / 3  # of a crop's sides, either way
_CELLS = 4  # of the bending's control grid, along each axis
_BEND = 0.4  # of a cell that a control point moves at most: no more lets voxels pass each other


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a sample besides changes of its values.

    Attributes
    ----------
    mirror : bool
        Flip axes in plane at random; not for classes that tell left from right.
    rotation : float
        Largest angle in plane, in degrees; out of plane it is 7 degrees at most.
    scaling : tuple of float
        Smallest and largest factor of the content's size.
    shift : float
        Largest shift along every axis, a share of its length.
    crop : tuple of float or None
        Smallest and largest share of the area in plane that is seen, somewhere inside the image and in a
        ratio of sides of 3/4 to 4/3; of the depth of a volume the root of that share. Instead of a shift.
    elastic : float
        Share of the samples that are bent.
    low_resolution : float
        Share of the samples that lose detail.
    """

    mirror: bool = False
    rotation: float = 15.0
    scaling: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.0
    crop: tuple[float, float] | None = None
    elastic: float = 0.0
    low_resolution: float = 0.0


def augment(
    images: Tensor, labels: T, spacing: tuple[float, ...], how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, T]:
    """Mirror, rotate, scale, move and bend samples, blur some, and change intensities.

    Parameters
    ----------
    images : Tensor, shape (B, C, *patch)
        Prepared patches. A grey image that is repeated, so that its channels are equal, stays grey.
    labels : Tensor or None, shape (B, 1, *patch) or (B, classes, *patch)
        Class indices, or 0 and 1 for each class, float; None where the whole image has one label.
    spacing : tuple of float
        Voxel size, so that a rotation is one in millimetres; for that, only its ratios matter.
    how : Augmentation
        What may happen.
    generator : torch.Generator
        On the CPU; the same draws on every device.

    Returns
    -------
    images, labels : Tensor
        Of the same shapes.
    """
    if how.mirror:
        for axis in (-1, -2):
            flip = torch.rand(len(images), generator=generator) < 0.5
            images[flip] = images[flip].flip(axis)
            if labels is not None:
                labels[flip] = labels[flip].flip(axis)
    same = (images[:, 1:] == images[:, :1]).flatten(1).all(dim=1)  # also where there is one channel only
    grey = same.view(-1, *[1] * (images.ndim - 1))
    matrices = _matrices(images, spacing, how, generator)
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    _bend(grid, how.elastic, generator)
    padding = "border"
    images = F.grid_sample(images, grid, "bilinear", padding, align_corners=False)
    if labels is not None:
        labels = F.grid_sample(labels, grid, "nearest", padding, align_corners=False)
    _coarsen(images, spacing, how.low_resolution, generator)
    return _intensities(images, grey, generator), labels


def _matrices(
    images: Tensor, spacing: tuple[float, ...], how: Augmentation, generator: torch.Generator
) -> Tensor:
    """Where each sample is read, (B, axes, axes + 1), in the sampler's units and axis order."""
    batch, axes = len(images), images.ndim - 2

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(batch).uniform_(low, high, generator=generator)

    turned = (torch.rand(batch, generator=generator) < 0.5).float()
    matrix = torch.eye(axes).repeat(batch, 1, 1)
    for i, j in [(0, 1), (0, 2), (1, 2)][: 1 if axes == 2 else 3]:  # x, y, z
        limit = math.radians(how.rotation if (i, j) == (0, 1) else min(how.rotation, _MAX_TILT))
        angle = uniform(-limit, limit) * turned
        rotation = torch.eye(axes).repeat(batch, 1, 1)
        rotation[:, i, i] = rotation[:, j, j] = angle.cos()
        rotation[:, i, j], rotation[:, j, i] = -angle.sin(), angle.sin()
        matrix = matrix @ rotation
    scaled = (torch.rand(batch, generator=generator) < 0.5).float()
    growth = uniform(*(math.log(factor) for factor in how.scaling)) * scaled
    matrix = matrix * torch.exp(-growth)[:, None, None]  # what is read from less space gets larger
    extent = torch.tensor([n * s for n, s in zip(images.shape[:1:-1], spacing[::-1], strict=True)])
    matrix = matrix * extent[None, None, :] / extent[None, :, None]  # millimetres to the sampler's [-1, 1]
    if how.crop is None:
        reach = 2 * how.shift  # the sampler's axes have length 2
        place = torch.empty(batch, axes).uniform_(-reach, reach, generator=generator)
    else:
        area, aspect = uniform(*how.crop), torch.exp(uniform(-1, 1) * math.log(_ASPECT))
        sides = [(area * aspect).sqrt(), (area / aspect).sqrt(), area.sqrt()][:axes]
        side = torch.stack(sides, dim=1).clamp(max=1)
        place = torch.empty(batch, axes).uniform_(-1, 1, generator=generator) * (1 - side)
        matrix = side[:, :, None] * matrix
    return torch.cat([matrix, place[:, :, None]], dim=2)


def _bend(grid: Tensor, share: float, generator: torch.Generator) -> None:
    """Move the places (B, *patch, axes) of some samples, in place, by a smooth field: a cubic B-spline.

    Its control points move by a random part of what keeps it from folding (Choi and Lee, 2000).
    """
    axes = grid.shape[-1]
    chosen = torch.nonzero(torch.rand(len(grid), generator=generator) < share).flatten()
    if not len(chosen):
        return
    points = [_CELLS + 3] * axes
    strength = torch.rand(len(chosen), *[1] * (axes + 1), generator=generator)
    field = torch.empty(len(chosen), *points, axes).uniform_(-1, 1, generator=generator)
    field = (field * strength * _BEND * 2 / _CELLS).to(grid)
    for axis, size in enumerate(grid.shape[1:-1], start=1):
        field = torch.movedim(torch.tensordot(_spline(size).to(grid), field, dims=([1], [axis])), 0, axis)
    grid.index_add_(0, chosen.to(grid.device), field)


def _spline(size: int) -> Tensor:
    """Weight of each control point, (size, points), at the centres of `size` voxels."""
    places = (torch.arange(size) + 0.5) / size * _CELLS + 1
    away = (places[:, None] - torch.arange(_CELLS + 3)).abs()
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp(min=0) ** 3 / 6
    return torch.where(away < 1, near, far)


def _coarsen(images: Tensor, spacing: tuple[float, ...], share: float, generator: torch.Generator) -> None:
    """Take detail from some samples, in place: nearest voxels at up to twice the spacing, and back.

    The spacing is that in plane; an axis whose voxels are larger anyway keeps them.
    """
    zooms = torch.empty(len(images)).uniform_(0.5, 1, generator=generator).tolist()
    chosen = torch.nonzero(torch.rand(len(images), generator=generator) < share).flatten().tolist()
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    for index in chosen:
        coarse = max(spacing[-2:]) / zooms[index]
        sizes = zip(images.shape[2:], spacing, strict=True)
        size = [max(1, round(n * min(1.0, own / coarse))) for n, own in sizes]
        low = F.interpolate(images[index : index + 1], size=size, mode="nearest-exact")
        images[index] = F.interpolate(low, size=images.shape[2:], mode=mode, align_corners=False)[0]


def _intensities(images: Tensor, grey: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, brightness, gamma and noise, in place, each for a share of the samples.

    As in nnU-Net each channel of a sample changes by an amount of its own, contrast and gamma within its own
    range. Samples that are `grey` (B, 1, …) have equal channels and keep them equal.
    """
    shape = (*images.shape[:2], *[1] * (images.ndim - 2))

    def alike(values: Tensor) -> Tensor:
        return torch.where(grey, values[:, :1], values)

    def draw(share: float, low: float, high: float) -> Tensor:
        value = torch.empty(shape).uniform_(low, high, generator=generator)
        chosen = torch.rand(len(images), *[1] * (images.ndim - 1), generator=generator) < share
        return alike(torch.where(chosen, value, 1.0).to(images))

    contrast, brightness, gamma = draw(0.2, 0.65, 1.5), draw(0.2, 0.75, 1.25), draw(0.3, 0.7, 1.5)
    flat = images.flatten(2)
    found = flat.mean(dim=2), flat.amin(dim=2), flat.amax(dim=2)
    mean, low, high = (alike(value.view(shape)) for value in found)
    span = (high - low).clamp(min=1e-6)
    images.mul_(contrast / span).add_((mean - mean * contrast - low) / span).clamp_(0, 1)  # 0 to 1: its range
    images.pow_(gamma).mul_(span * brightness).add_(low * brightness)
    spread = torch.rand(len(images), generator=generator) * 0.1
    noisy = torch.nonzero(torch.rand(len(images), generator=generator) < 0.2).flatten()
    if len(noisy):  # normal values take longer to draw than all else here
        noise = torch.randn(len(noisy), *images.shape[1:], generator=generator)
        noise = noise.mul_(spread[noisy].view(-1, *[1] * (images.ndim - 1))).to(images)
        noisy = noisy.to(images.device)
        images.index_add_(0, noisy, torch.where(grey[noisy], noise[:, :1], noise))
    return images
