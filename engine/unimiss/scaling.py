"""The loss scale of fp16: its gradients, its overflows, its place in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TOLERATED = 20  # overflows in a row; each halves the scale, and 2**16 is where it begins


class LossScale:
    """What mixed precision of fp16 needs besides an optimizer; nothing in other precisions.

    Parameters
    ----------
    fabric : Fabric
        Whose precision has the scaler: of fp16 on a GPU, and nowhere else.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        self._overflows = 0

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give gradients their true size, once a step, before they are clipped or looked at."""
        if self._scaler is not None:
            self._scaler.unscale_(getattr(optimizer, "optimizer", optimizer))

    def tolerates(self, finite: bool) -> bool:
        """Whether a step may go to the optimizer: gradients are finite, or the scaler leaves it out.

        An overflow now and then is how the scaler finds its scale; many in a row are no matter of scale.
        """
        self._overflows = 0 if finite else self._overflows + 1
        return finite or (self._scaler is not None and self._overflows < _TOLERATED)

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        if self._scaler is None:
            return {}
        state = self._scaler.state_dict()
        return {name: torch.tensor(float(state[name])) for name in ("scale", "_growth_tracker")}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Take up the state of a checkpoint, where it has one."""
        if self._scaler is not None and saved:
            tracker = int(saved["_growth_tracker"])
            state = {"scale": float(saved["scale"]), "_growth_tracker": tracker}
            self._scaler.load_state_dict(self._scaler.state_dict() | state)
