"""Changes of values, slice by slice, for random views of volumes (spec: UniMiSS, section "Pre-training").

Each changes slices (S, height, width), float32, on any device, in a few passes over them: a view
of 16 x 96 x 96 then stays in a core's cache, which copies of it would not.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_SIGMA = 2.0  # pixels, of a blur
_REACH = 8  # pixels, where scipy cuts the largest blur: 4 sigma
_NOISE = 2**22  # values, 16 MiB: 28 times a view of 16 x 96 x 96
_CONSTANT = 1e-7  # a slice whose values lie closer together has no spread that could be kept
_ALMOST_ZERO = 1e-24  # its logarithm is finite, which is twenty times as fast, and no power of it underflows


def add_noise(slices: Tensor, sigma: float, place: float, *, out: Tensor) -> None:
    """Write into `out` slices with Gaussian noise of one spread added.

    It is read from a long row of values drawn once, beginning at `place`, a share in [0, 1): drawing anew
    took a fifth of the time of a view. Two views hardly ever read from the same place.
    """
    row = _noise(max(_NOISE, 16 * slices.numel()), slices.device)
    start = int(place * (len(row) - slices.numel() + 1))
    torch.add(slices, row[start : start + slices.numel()].view_as(slices), alpha=sigma, out=out)


def blur(slices: Tensor, which: Tensor, sigma: Tensor) -> None:
    """Blur some slices in plane; beyond the border values are mirrored (`d c b a | a b c d | d c b a`).

    Two matrix products a slice, equal to `scipy.ndimage.gaussian_filter`.

    Parameters
    ----------
    slices : Tensor, shape (S, height, width)
        Changed in place.
    which : Tensor, shape (N,)
        Indices of those to blur.
    sigma : Tensor, shape (N, 1, 1)
        Of each of these, in pixels, above 0 and at most `LARGEST_SIGMA`.
    """
    height, width = slices.shape[1:]
    rows = _blurring(sigma, height)
    columns = rows if height == width else _blurring(sigma, width)
    slices.index_copy_(0, which, rows @ slices.index_select(0, which) @ columns)


def adjust(
    slices: Tensor, scale: Tensor, shift: Tensor, contrast: Tensor, gamma: Tensor | None = None
) -> None:
    """Scale and shift values, stretch them about their mean, bend them: each slice by parameters of its own.

    What the stretching takes out of the slice's range is clipped. The bending works within the range that is
    left, and keeps mean and standard deviation. All that is linear is one pass.

    Parameters
    ----------
    slices : Tensor, shape (S, height, width)
        Changed in place.
    scale, shift, contrast : Tensor, shape (S, 1, 1)
        Factor above 0, summand, and factor above 0 of the distance to the mean.
    gamma : Tensor or None, shape (S, 1, 1)
        Exponent; None leaves values unbent.
    """
    flat = slices.flatten(1)
    found = flat.mean(dim=1), flat.amin(dim=1), flat.amax(dim=1)
    mean, low, high = (value[:, None, None] * scale + shift for value in found)
    bottom = torch.maximum(low, mean + (low - mean) * contrast)
    extent = (torch.minimum(high, mean + (high - mean) * contrast) - bottom).clamp_(min=_CONSTANT)
    slope = contrast / extent
    slices.mul_(scale * slope).add_((shift - mean) * slope + (mean - bottom) / extent).clamp_(_ALMOST_ZERO, 1)
    if gamma is not None:
        mean, spread = _moments(slices)
        slices.log_().mul_(gamma).exp_()  # a quarter of the time of a power
        bent_mean, bent_spread = _moments(slices)
        back = spread / bent_spread.clamp_(min=_CONSTANT)
        bottom, extent = bottom + (mean - bent_mean * back) * extent, back * extent
    slices.mul_(extent).add_(bottom)


def _moments(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of values in [0, 1], where a difference of squares is exact enough.

    `torch.var_mean` takes forty times as long on a CPU.
    """
    mean = slices.mean((1, 2), keepdim=True)
    square = torch.linalg.vector_norm(slices, dim=(1, 2), keepdim=True).square_() / slices[0].numel()
    return mean, (square - mean.square()).clamp_(min=0).sqrt_()


def _blurring(sigma: Tensor, n: int) -> Tensor:
    """Symmetric matrices (N, n, n) that blur a line of n: sums of its shifts, weighted by the Gaussian."""
    sigma, taps = sigma[:, 0], torch.arange(_REACH + 1, device=sigma.device)
    beyond = taps > 4 * sigma + 0.5  # as scipy; subnormal weights would slow the products tenfold
    weights = torch.exp(-0.5 * (taps / sigma).square()).masked_fill_(beyond, 0)
    weights /= 2 * weights.sum(dim=1, keepdim=True) - 1
    return torch.mm(weights, _shifts(n, sigma.device)).view(len(sigma), n, n)


@lru_cache(maxsize=2)
def _noise(length: int, device: torch.device) -> Tensor:
    """Draw the row of values, the same in every process."""
    return torch.randn(length, generator=torch.Generator().manual_seed(0)).to(device)


@lru_cache(maxsize=8)
def _shifts(n: int, device: torch.device) -> Tensor:
    """Matrices (taps, n * n) that move a line of n by 0 to `_REACH` both ways, mirrored at its ends."""
    moves = torch.arange(-_REACH, _REACH + 1, device=device)[:, None]
    places = (torch.arange(n, device=device) + moves).remainder(2 * n)
    one_way = F.one_hot(torch.minimum(places, 2 * n - 1 - places), n).float().flatten(1)
    both = one_way[_REACH:] + one_way[: _REACH + 1].flip(0)
    both[0] /= 2  # no shift is no shift either way
    return both
