"""From scores on a network's grid to scores on the image's own, a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_VALUES = 2**24  # of scores on the image's grid at a time: 64 MiB

_MODES = {1: "linear", 2: "bilinear"}


def rows_at_once(classes: int, shape: tuple[int, ...]) -> int:
    """Count the rows of an image's first axis whose scores are made together."""
    return max(1, _MOST_VALUES // (classes * math.prod(shape[1:])))


def resized(slabs: Iterable[Tensor], depth: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Resize scores linearly over the same extent, without ever holding all of them.

    Each row of the result is made of two rows of the scores by weights that do not depend on where slabs
    begin, so the result is that of the whole, to the bit.

    Parameters
    ----------
    slabs : iterable of Tensor, shape (classes, rows, *rest of the scores' grid), float32
        Along the first axis.
    depth : int
        Rows of all slabs together.
    shape : tuple of int
        The image's grid.

    Yields
    ------
    Tensor, shape (classes, rows, *shape[1:]), float32
        `rows_at_once` rows each, the last fewer.
    """
    lower, upper, share = _neighbours(depth, shape[0])
    source = iter(slabs)
    held = next(source)
    first = 0  # the row of the scores that `held` begins with
    step = rows_at_once(len(held), shape)
    for begin in range(0, shape[0], step):
        rows = slice(begin, begin + step)
        while first + held.shape[1] <= upper[rows][-1]:
            done = min(lower[begin] - first, held.shape[1])
            held, first = torch.cat([held[:, done:], next(source)], dim=1), first + done
        at = [torch.from_numpy(index[rows] - first).to(held.device) for index in (lower, upper)]
        below, above = (held.index_select(1, index) for index in at)
        weight = torch.from_numpy(share[rows]).to(held.device).view(-1, *[1] * (held.ndim - 2))
        # torch.lerp rounds otherwise at the ends of a tensor than in its middle
        yield _resized_in_plane(below + weight * (above - below), shape[1:])


def _neighbours(old: int, new: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """For each new row the old ones on both sides of its centre, and how near the second is."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    lower = centres.astype(np.int64)
    return lower, np.minimum(lower + 1, old - 1), (centres - lower).astype(np.float32)


def _resized_in_plane(scores: Tensor, plane: tuple[int, ...]) -> Tensor:
    if scores.shape[2:] == plane:
        return scores
    # torch chooses among kernels, which round differently, by the number of channels: classes, never rows
    by_row = scores.transpose(0, 1).contiguous()
    return F.interpolate(by_row, size=plane, mode=_MODES[len(plane)], align_corners=False).transpose(0, 1)
