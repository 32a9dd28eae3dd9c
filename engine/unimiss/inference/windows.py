"""Scores of a whole image from a network that takes patches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_OVERLAP = 0.5


def window_scores(
    network: nn.Module,
    image: Tensor,
    patch: tuple[int, ...],
    precision: str,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Slide a window over an image and blend the scores, those near a window's middle counting most.

    Parameters
    ----------
    network : Module
        In evaluation mode; maps (B, C, *patch) to (B, classes, *patch).
    image : Tensor, shape (C, *grid)
        Prepared; on the network's device.
    patch : tuple of int
        Size of a window; smaller images are padded with their smallest value.
    precision : str
        As Lightning Fabric names it.
    progress : callable, optional
        Receives the finished share, 0 to 1.

    Returns
    -------
    Tensor, shape (classes, *grid), float32
    """
    from monai.inferers import sliding_window_inference

    steps = [
        max(1, math.ceil((n - p) / (p * (1 - _OVERLAP))) + 1)
        for n, p in zip(image.shape[1:], patch, strict=True)
    ]
    total, done = math.prod(steps), 0
    kind = torch.float16 if precision == "16-mixed" else torch.bfloat16

    def score(windows: Tensor) -> Tensor:
        nonlocal done
        with torch.autocast(image.device.type, dtype=kind, enabled=precision != "32-true"):
            scores: Tensor = network(windows).float()
        done += len(windows)
        if progress is not None:
            progress(min(1.0, done / total))
        return scores

    with torch.inference_mode():
        out: Tensor = sliding_window_inference(
            image[None],
            patch,
            sw_batch_size=2,
            predictor=score,
            overlap=_OVERLAP,
            mode="gaussian",
            padding_mode="constant",
            cval=float(image.min()),
        )
    return out[0]
