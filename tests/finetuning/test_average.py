"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unimiss.finetuning.average import Average


def test_it_follows_slowly_once_the_first_steps_are_over():
    network = nn.Linear(1, 1)
    average = Average(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average.update(0)  # keeps a tenth of the first weights
    first = float(average.network.weight.detach())
    with torch.no_grad():
        network.weight.fill_(first + 1)
    average.update(1000)
    assert float(average.network.weight.detach()) - first == pytest.approx(0.1, abs=1e-6)


def test_without_decay_it_is_the_network_itself():
    network = nn.Linear(1, 1)
    average = Average(network, 0.0)
    average.update(0)
    assert average.network is network
