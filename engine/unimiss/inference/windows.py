"""Scores of a whole image from a network that takes patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, product, zip_longest
from types import EllipsisType

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

_OVERLAP = 0.5
_AT_ONCE = {"cpu": 2**18, "cuda": 2**23}  # voxels of windows that go through together; more is no faster
_BYTES = 512  # that a voxel of a window needs on its way through the largest network
_SHARE = 0.5  # of the free memory that windows may fill

Start = tuple[int, ...]
Network = Callable[[Tensor], Tensor]


def starts_of(grid: Sequence[int], patch: Sequence[int]) -> list[Start]:
    """First voxels of all windows of an image, by depth; neighbours share half."""
    along = []
    for size, length in zip(grid, patch, strict=True):
        last = max(0, size - length)
        step = max(1, int(length * (1 - _OVERLAP)))
        along.append([min(i * step, last) for i in range(math.ceil(last / step) + 1)])
    return list(product(*along))


def window_slabs(
    network: Network,
    image: Tensor,
    patch: tuple[int, ...],
    precision: str,
    done: Callable[[int], None] | None = None,
    *,
    mirror: bool = False,
) -> Iterator[Tensor]:
    """Slide a window over an image and blend the scores, those near a window's middle counting most.

    Windows are visited by depth, and what no further window touches is handed out: never more than one
    patch's depth of scores is held.

    Parameters
    ----------
    network : callable
        In evaluation mode; maps (B, …, C, *patch) to (B, classes, *patch).
    image : Tensor, shape (…, C, *grid)
        Prepared, perhaps in several ways; on the network's device.
    patch : tuple of int
        Size of a window; smaller images are padded with their smallest value.
    precision : str
        As Lightning Fabric names it.
    done : callable, optional
        Receives the number of windows that were scored, each time some were.
    mirror : bool
        Blend the windows of the mirror image (left to right) too: twice as many, in the same sums.

    Yields
    ------
    Tensor, shape (classes, rows, *rest of the grid), float32
        The scores of the next rows along the first axis.
    """
    grid = image.shape[-len(patch) :]
    before = [max(0, length - size) // 2 for size, length in zip(grid, patch, strict=True)]
    inner = _block(before, grid)
    image = _padded(image, patch, before)
    weight = _importance(patch, image.device)
    at_once = windows_at_once(patch, image.device)
    starts = starts_of(image.shape[-len(patch) :], patch)
    rows = [list(windows) for _, windows in groupby(starts, lambda start: start[0])]
    sums, weights = torch.empty(0), image.new_zeros((patch[0], *image.shape[1 - len(patch) :]))
    for windows, following in zip_longest(rows, rows[1:]):
        looks = [(start, False) for start in windows]
        if mirror:
            last = image.shape[-1] - patch[-1]
            looks += [((*start[:-1], last - start[-1]), True) for start in windows]
        for start, scores in _scored(network, image, looks, patch, precision, at_once, done):
            if not sums.numel():
                sums = scores.new_zeros((len(scores), *weights.shape))
            place = _block((0, *start[1:]), patch)
            sums[:, *place] += scores * weight
            weights[place] += weight
        ready = patch[0] if following is None else following[0][0] - windows[0][0]
        slab = sums[:, :ready] / weights[:ready]
        yield slab[:, inner[0] if len(rows) == 1 else slice(None), *inner[1:]]
        for held in (*sums, weights):  # one class at a time: what stays moves inside its own memory
            held[: patch[0] - ready] = held[ready:].clone()
            held[patch[0] - ready :] = 0


def window_scores(
    network: Network,
    image: Tensor,
    patch: tuple[int, ...],
    precision: str,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Return the slabs of `window_slabs` as one (classes, *grid); `progress` receives the finished share."""
    total, finished = len(starts_of(image.shape[1:], patch)), 0

    def done(windows: int) -> None:
        nonlocal finished
        finished += windows
        if progress is not None:
            progress(finished / total)

    return torch.cat(list(window_slabs(network, image, patch, precision, done)), dim=1)


def windows_at_once(patch: Sequence[int], device: torch.device) -> int:
    """Count the windows to score together: what keeps the device busy and fits into its free memory."""
    voxels = math.prod(patch)
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
    else:
        free = psutil.virtual_memory().available
    wanted = _AT_ONCE.get(device.type, _AT_ONCE["cpu"]) // voxels
    return max(1, min(wanted, int(free * _SHARE) // (voxels * _BYTES)))


def _block(start: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))


def _scored(
    network: Network,
    image: Tensor,
    looks: Sequence[tuple[Start, bool]],
    patch: tuple[int, ...],
    precision: str,
    at_once: int,
    done: Callable[[int], None] | None,
) -> Iterator[tuple[Start, Tensor]]:
    """Scores (classes, *patch) of windows, some of which are to be mirrored, with where these begin."""
    kind = torch.float16 if precision == "16-mixed" else torch.bfloat16
    for i in range(0, len(looks), at_once):
        batch, views = looks[i : i + at_once], []
        for start, mirrored in batch:
            place: tuple[EllipsisType | slice, ...] = (..., *_block(start, patch))
            views.append(image[place].flip(-1) if mirrored else image[place])
        with (
            torch.inference_mode(),
            torch.autocast(image.device.type, dtype=kind, enabled=precision != "32-true"),
        ):
            scores = network(torch.stack(views)).float()
        for (start, mirrored), found in zip(batch, scores, strict=True):
            yield start, found.flip(-1) if mirrored else found
        if done is not None:
            done(len(batch))


def _padded(image: Tensor, patch: Sequence[int], before: Sequence[int]) -> Tensor:
    """Image of at least the patch's size, each channel filled up with its smallest value on both sides."""
    short = [max(0, n - size) for size, n in zip(image.shape[-len(patch) :], patch, strict=True)]
    if not any(short):
        return image
    if image.ndim > 1 + len(patch):
        return torch.stack([_padded(one, patch, before) for one in image])
    pairs = [(first, lack - first) for first, lack in zip(before, short, strict=True)]
    around = [width for pair in reversed(pairs) for width in pair]
    return torch.stack([F.pad(one, around, value=float(one.min())) for one in image])


def _importance(patch: tuple[int, ...], device: torch.device) -> Tensor:
    """Weights of a window's voxels: a Gaussian that is nowhere nothing."""
    from monai.data.utils import compute_importance_map

    weight: Tensor = compute_importance_map(patch, mode="gaussian", sigma_scale=0.125, device=device)
    return weight
