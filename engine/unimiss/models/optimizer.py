"""An optimizer's groups by stage, and its state as named tensors, so that it fits a safetensors file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unimiss.errors import InputError

_STAGES = 4
_STAGE = re.compile(r"encoder\.(embeddings|stages|cls_projections)\.(\d+)")


def by_stage(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Group a network's parameters by stage, with the share of the learning rate that each stage gets.

    Parameters
    ----------
    network : Module
        With an `Encoder`; decoder and head get the whole rate, its last stage `decay` of it, the one before
        `decay` squared, and so on down to the stem.

    Returns
    -------
    list of dict
        Parameter groups with the entry "share", the stem first.
    """
    groups: list[list[nn.Parameter]] = [[] for _ in range(_STAGES + 2)]
    for name, parameter in network.named_parameters():
        groups[_stage_of(name)].append(parameter)
    return [
        {"params": group, "share": decay ** (_STAGES + 1 - stage)}
        for stage, group in enumerate(groups)
        if group
    ]


def _stage_of(name: str) -> int:
    """0 for stem and first class token, 1 to 4 for the encoder's stages, then the rest."""
    if not name.startswith("encoder."):
        return _STAGES + 1
    found = _STAGE.match(name)
    if found is None:
        return 0
    return int(found[2]) + (2 if found[1] == "cls_projections" else 1)


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
