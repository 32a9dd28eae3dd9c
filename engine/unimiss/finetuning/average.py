"""The moving average of a network's weights, which generalises better than the last ones."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """A copy of a network that follows it.

    Parameters
    ----------
    network : Module
        With its first weights.
    decay : float
        Share of the average that a step keeps; less in the first steps, which are far from the last; 0 for no
        average: the network itself is then `network`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._source = network
        self.network = copy.deepcopy(network).eval() if decay else network

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow, after step number `step`, counted from 0."""
        if not self.decay:
            return
        keep = min(self.decay, (1 + step) / (10 + step))
        states = self.network.state_dict(), self._source.state_dict()
        averages, weights = ([t for t in state.values() if t.is_floating_point()] for state in states)
        torch._foreach_lerp_(averages, weights, 1 - keep)  # what batch norms count has no average
