"""Random changes of labelled patches and images, a whole batch at once on its device."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

T = TypeVar("T", Tensor, None)

_MAX_ANGLE = math.radians(15)
_MAX_TILT = math.radians(7)  # out of plane: slices are thick, and little of a tilted one stays in the patch


def augment(
    images: Tensor,
    labels: T,
    spacing: tuple[float, ...],
    mirror: bool,
    generator: torch.Generator,
    *,
    shift: float = 0.0,
) -> tuple[Tensor, T]:
    """Rotate, scale, perhaps shift and mirror, and change intensities.

    Parameters
    ----------
    images : Tensor, shape (B, C, *patch)
        Prepared patches.
    labels : Tensor or None, shape (B, 1, *patch) or (B, classes, *patch)
        Class indices, or 0 and 1 for each class, float; None where the whole image has one label.
    spacing : tuple of float
        Voxel size, so that a rotation is one in millimetres.
    mirror : bool
        Flip axes in plane at random; not for classes that tell left from right.
    generator : torch.Generator
        On the CPU; the same draws on every device.
    shift : float
        Largest shift along every axis, a share of its length.

    Returns
    -------
    images, labels : Tensor
        Of the same shapes.
    """
    if mirror:
        for axis in (-1, -2):
            flip = torch.rand(len(images), generator=generator) < 0.5
            images[flip] = images[flip].flip(axis)
            if labels is not None:
                labels[flip] = labels[flip].flip(axis)
    matrices = _matrices(images, spacing, generator)
    if shift:
        reach = 2 * shift  # the sampler's axes have length 2
        matrices[..., -1].uniform_(-reach, reach, generator=generator)
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    padding = "border"
    images = F.grid_sample(images, grid, "bilinear", padding, align_corners=False)
    if labels is not None:
        labels = F.grid_sample(labels, grid, "nearest", padding, align_corners=False)
    return _intensities(images, generator), labels


def _matrices(images: Tensor, spacing: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """Rotation and scaling for each sample, (B, axes, axes + 1), in the sampler's units and axis order."""
    batch, axes = len(images), images.ndim - 2

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(batch).uniform_(low, high, generator=generator)

    turned = (torch.rand(batch, generator=generator) < 0.5).float()
    matrix = torch.eye(axes).repeat(batch, 1, 1)
    for i, j in [(0, 1), (0, 2), (1, 2)][: 1 if axes == 2 else 3]:  # x, y, z
        limit = _MAX_ANGLE if (i, j) == (0, 1) else _MAX_TILT
        angle = uniform(-limit, limit) * turned
        rotation = torch.eye(axes).repeat(batch, 1, 1)
        rotation[:, i, i] = rotation[:, j, j] = angle.cos()
        rotation[:, i, j], rotation[:, j, i] = -angle.sin(), angle.sin()
        matrix = matrix @ rotation
    scaled = (torch.rand(batch, generator=generator) < 0.5).float()
    matrix = matrix * torch.exp(uniform(math.log(0.8), math.log(1.25)) * scaled)[:, None, None]
    extent = torch.tensor([n * s for n, s in zip(images.shape[:1:-1], spacing[::-1], strict=True)])
    matrix = matrix * extent[None, None, :] / extent[None, :, None]  # millimetres to the sampler's [-1, 1]
    return F.pad(matrix, (0, 1))


def _intensities(images: Tensor, generator: torch.Generator) -> Tensor:
    """Noise, brightness, contrast and gamma, each for a share of the samples."""
    shape = (len(images), *(1,) * (images.ndim - 1))

    def draw(share: float, low: float, high: float, neutral: float) -> Tensor:
        value = torch.empty(shape).uniform_(low, high, generator=generator)
        chosen = torch.rand(shape, generator=generator) < share
        return torch.where(chosen, value, neutral).to(images)

    flat = images.flatten(1)
    mean = flat.mean(dim=1).view(shape)
    images = (images - mean) * draw(0.2, 0.65, 1.5, 1.0) + mean
    images = images * draw(0.2, 0.75, 1.25, 1.0)
    low, high = flat.amin(dim=1).view(shape), flat.amax(dim=1).view(shape)
    span = (high - low).clamp(min=1e-6)
    images = ((images - low) / span).clamp(0, 1) ** draw(0.3, 0.7, 1.5, 1.0) * span + low
    noise = torch.randn(images.shape, generator=generator).to(images)
    return images + noise * draw(0.2, 0.0, 0.1, 0.0)
