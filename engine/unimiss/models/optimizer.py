"""An optimizer's state as named tensors, so that it fits a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unimiss.errors import InputError


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of every parameter as ``<number>.<name>``; the schedules set the learning rates."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises
    ------
    InputError
        The state belongs to other parameters.
    """
    whole = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for place, tensor in tensors.items():
        number, _, name = place.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    try:
        optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    except (ValueError, KeyError) as error:
        raise InputError("the checkpoint's optimizer state does not belong to this run's settings") from error
