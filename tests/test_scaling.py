"""The loss scale of fp16, which only a GPU uses: here with torch's scaler on the CPU."""

from types import SimpleNamespace

import pytest
import torch

from unimiss.scaling import LossScale


def fabric(scaler):
    return SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(scaler=scaler)))


@pytest.fixture
def scaler():
    return torch.amp.GradScaler("cpu", init_scale=1024.0)


def test_gradients_get_their_true_size_before_they_are_clipped(scaler):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler.scale(weight.sum()).backward()
    assert weight.grad.max() == 1024
    LossScale(fabric(scaler)).unscale(optimizer)
    assert weight.grad.max() == 1


def test_an_overflow_is_left_to_the_scaler_and_many_in_a_row_are_not(scaler):
    scale = LossScale(fabric(scaler))
    assert all(scale.tolerates(False) for _ in range(19))
    assert scale.tolerates(True)
    assert all(scale.tolerates(False) for _ in range(19))
    assert not scale.tolerates(False)


def test_without_a_scaler_no_overflow_is_tolerated():
    scale = LossScale(fabric(None))
    assert scale.tolerates(True)
    assert not scale.tolerates(False)
    assert scale.tensors() == {}


def test_a_checkpoint_keeps_the_scale(scaler):
    scaler.scale(torch.ones(1))
    scaler.update(256.0)
    saved = LossScale(fabric(scaler)).tensors()
    fresh = torch.amp.GradScaler("cpu")
    LossScale(fabric(fresh)).load(saved)
    assert fresh.get_scale() == scaler.get_scale()
