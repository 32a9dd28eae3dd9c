"""Dice on whole validation cases while training, on the network's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from unimiss.data.cache import Cache
from unimiss.data.preprocessing import Scaling
from unimiss.finetuning.prepare import PreparedCase
from unimiss.inference.windows import window_scores


def validate(
    network: torch.nn.Module,
    cases: Sequence[PreparedCase],
    cache: Cache,
    intensity: Scaling,
    labels: dict[int, str],
    patch: tuple[int, ...],
    device: torch.device,
    precision: str,
    progress: Callable[[float], None],
) -> dict[str, float]:
    """Mean Dice; `progress` is called after every few windows, and may raise to end the validation.

    Returns
    -------
    dict of str to float
        "dice", the mean over classes, and "dice_<name>", each over the cases where prediction or
        reference has the class.
    """
    scores: dict[int, list[float]] = {index: [] for index in range(1, len(labels))}
    for case in cases:
        image = torch.from_numpy(intensity.from_stored(cache.open(case.key, "image")[:])).to(device)
        truth = torch.from_numpy(cache.open(case.key, "label")[:][0]).to(device)
        found = window_scores(network, image, patch, precision, progress).argmax(dim=0)
        for index, values in scores.items():
            predicted, true = found == index, truth == index
            total = int(predicted.sum() + true.sum())
            if total:
                values.append(2 * int((predicted & true).sum()) / total)
    names = list(labels.values())
    means = {f"dice_{names[index]}": float(np.mean(v)) for index, v in scores.items() if v}
    return {"dice": float(np.mean(list(means.values()))) if means else 0.0, **means}
