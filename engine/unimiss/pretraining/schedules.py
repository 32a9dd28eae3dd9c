"""Values that change with the iteration."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, base: float, final: float, warmup: int = 0) -> float:
    """Linear from 0 to `base` over `warmup` iterations, then half a cosine from `base` to `final`.

    Parameters
    ----------
    step : int
        Iteration, counted from 0.
    steps, warmup : int
        Iterations in all, and those of the warm-up among them.
    base, final : float
        Value after the warm-up, and the one that would be reached at `steps`.
    """
    if step < warmup:
        return base * step / max(1, warmup - 1)
    share = (step - warmup) / max(1, steps - warmup)
    return final + (base - final) * (1 + math.cos(math.pi * share)) / 2
