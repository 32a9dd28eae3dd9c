"""Class probabilities of whole images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def class_probabilities(network: nn.Module, images: Tensor, precision: str, *, overlapping: bool) -> Tensor:
    """Classify prepared images.

    Parameters
    ----------
    network : Module
        In evaluation mode; maps (B, C, *size) to (B, classes).
    images : Tensor, shape (B, C, *size)
        On the network's device.
    precision : str
        As Lightning Fabric names it.
    overlapping : bool
        Whether an image may have several classes or none; else the probabilities sum to 1.

    Returns
    -------
    Tensor, shape (B, classes), float32
    """
    kind = torch.float16 if precision == "16-mixed" else torch.bfloat16
    with (
        torch.inference_mode(),
        torch.autocast(images.device.type, dtype=kind, enabled=precision != "32-true"),
    ):
        scores: Tensor = network(images).float()
    return scores.sigmoid() if overlapping else scores.softmax(dim=1)
