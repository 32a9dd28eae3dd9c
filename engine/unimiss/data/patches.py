"""Patches of labelled cases: where they are cut, and how they are cut out of the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimiss.data.datasets import UNKNOWN

Rng = np.random.Generator


def class_points(labels: NDArray[np.uint8], classes: int, per_class: int = 2000) -> NDArray[np.int32]:
    """Draw places of every foreground class, so that patches can be centred on it without a search.

    Parameters
    ----------
    labels : array, shape (1, *grid) or (classes - 1, *grid)
        Class indices; where classes overlap, 1 where each is, a channel for each but the background.
        `UNKNOWN` belongs to no class.
    classes : int
        Background included.
    per_class : int
        At most so many places of each.

    Returns
    -------
    array, shape (N, 1 + axes)
        Class, then index; where there is no foreground, places anywhere as class 0.
    """
    rng = np.random.default_rng(0)  # a property of the case, not of a run
    rows = []
    for index in range(1, classes):
        found = np.argwhere(labels[0] == index if len(labels) == 1 else labels[index - 1] == 1)
        if len(found) > per_class:
            found = found[rng.choice(len(found), per_class, replace=False)]
        rows.append(np.column_stack([np.full(len(found), index), found]))
    points = np.concatenate([*rows, np.empty((0, labels.ndim), dtype=int)])
    if not len(points):  # a case without a finding
        places = rng.integers(labels.shape[1:], size=(per_class, labels.ndim - 1))
        points = np.column_stack([np.zeros(per_class, int), places])
    return points.astype(np.int32)


def known_points(labels: NDArray[np.uint8], most: int = 10_000) -> NDArray[np.int32]:
    """Draw at most so many places (N, axes) of all that somebody labelled, as a class or as background."""
    known = np.flatnonzero(labels[0] != UNKNOWN)
    if len(known) > most:
        known = np.random.default_rng(0).choice(known, most, replace=False)
    return np.column_stack(np.unravel_index(known, labels.shape[1:])).astype(np.int32)


def draw_start(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    points: NDArray[np.int32],
    foreground: float,
    rng: Rng,
    known: NDArray[np.int32] | None = None,
) -> list[int]:
    """First index of a patch: around a place of a random class with probability `foreground`, else anywhere.

    Of a case that is labelled in part, "anywhere" is around one of the `known` places, for a patch without
    any would teach nothing. Along an axis that is shorter than the patch, the case lies in the patch's middle
    (a negative start).
    """
    center = None
    if len(points) and rng.random() < foreground and (known is None or points[0, 0]):
        of_class = points[points[:, 0] == rng.choice(np.unique(points[:, 0]))]
        center = of_class[rng.integers(len(of_class)), 1:]
    elif known is not None:
        center = known[rng.integers(len(known))]
    start = []
    for axis, (size, want) in enumerate(zip(shape, patch, strict=True)):
        room = size - want
        if room <= 0:
            start.append(room // 2)
        elif center is None:
            start.append(int(rng.integers(room + 1)))
        else:
            shift = int(rng.integers(-want // 4, want // 4 + 1))
            start.append(int(np.clip(center[axis] - want // 2 + shift, 0, room)))
    return start


def cut_patch(array: Any, start: list[int], patch: tuple[int, ...], fill: float | None) -> NDArray[Any]:
    """Cut (C, *patch) out of a stored (C, *grid), reading only what is needed.

    Beyond the case lies `fill`, or the smallest value of each channel in the patch.
    """
    shape = array.shape[1:]
    inside = tuple(slice(max(0, s), min(n, s + p)) for s, n, p in zip(start, shape, patch, strict=True))
    block = np.asarray(array[(slice(None), *inside)])
    if block.shape[1:] == patch:
        return block
    before = [max(0, -s) for s in start]
    pads = [(b, p - b - n) for b, p, n in zip(before, patch, block.shape[1:], strict=True)]
    if fill is not None:
        return np.pad(block, [(0, 0), *pads], constant_values=fill)
    return np.stack([np.pad(one, pads, constant_values=one.min()) for one in block])
