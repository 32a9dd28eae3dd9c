"""The figure by which a run's models are judged, as people call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {"dice": "Dice", "auc": "AUC"}


def validated(metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """Name and value of the validation's figure, 0 to 1, where an event or a line of metrics has one."""
    return next(((name, float(metrics[key])) for key, name in _NAMES.items() if key in metrics), None)
