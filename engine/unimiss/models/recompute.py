"""Activation checkpointing: less memory in training, for a second forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputing(nn.Module):
    """A network whose parts can forget their activations and compute them again in the backward pass.

    Attributes
    ----------
    recomputes : bool
        Off at first; see `recompute`.
    """

    recomputes = False

    def run(self, part: nn.Module, *inputs: Any) -> Any:
        """Apply a part, forgetting what happens inside it where that was asked for."""
        if self.recomputes and self.training and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)


def recompute(network: nn.Module, on: bool = True) -> None:
    """Let every part of `network` that can forget its activations do so in training, or stop it."""
    for module in network.modules():
        if isinstance(module, Recomputing):
            module.recomputes = on
