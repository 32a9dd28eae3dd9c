"""MiT takes any grid, with one set of Transformer weights for 2D and 3D."""

import pytest
import torch

from unimiss.models import Backbone, create
from unimiss.models.attention import Attention


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    torch.manual_seed(0)
    return create("tiny").eval()


@pytest.mark.parametrize(
    ("network", "parameters"), [("tiny", 20_380_336), ("small", 43_942_944), ("plus", 41_112_772)]
)
def test_has_the_published_number_of_parameters(network, parameters):
    assert sum(p.numel() for p in create(network).parameters()) == parameters


@pytest.mark.parametrize(
    "shape",
    [
        (3, 96, 96),
        (3, 70, 131),
        (3, 16, 16),
        (1, 16, 64, 64),
        (1, 7, 64, 48),
        (1, 31, 50, 34),
        (1, 24, 33, 32),
    ],
)
def test_represents_any_grid(tiny, shape):
    with torch.inference_mode():
        out = tiny(torch.randn(2, *shape))
    assert out.shape == (2, tiny.embed_dim)
    assert out.isfinite().all()


def test_2d_and_3d_share_the_transformer_and_nothing_else(tiny):
    tiny.zero_grad()
    tiny(torch.randn(2, 3, 32, 32)).sum().backward()
    touched = {name for name, p in tiny.named_parameters() if p.grad is not None}
    tiny.zero_grad()
    tiny(torch.randn(2, 1, 8, 32, 32)).sum().backward()
    touched_3d = {name for name, p in tiny.named_parameters() if p.grad is not None}
    tiny.zero_grad()
    assert not any(".3d" in name for name in touched)
    assert not any(".2d" in name for name in touched_3d)
    shared = touched & touched_3d
    assert {name for name in touched if ".attention.q." in name or ".mlp." in name} <= shared


def test_a_network_for_one_dimension_holds_nothing_of_the_other():
    names = [name for name, _ in Backbone("tiny", {2: (64, 64)}).named_parameters()]
    assert names
    assert not any(".3d" in name for name in names)


def test_stochastic_depth_reaches_the_network():
    torch.manual_seed(0)
    network = Backbone("tiny", {2: (32, 32)}, drop_path=0.9).train()
    x = torch.randn(8, 3, 32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_axes_shorter_than_the_reduction_are_padded_and_others_floored():
    attention = Attention(8, 2, 4, (3,), bias=True)
    tokens = torch.randn(1, 1 + 2 * 9 * 5, 8)
    assert attention(tokens, (2, 9, 5)).shape == tokens.shape
    assert attention._reduced(tokens, (2, 9, 5)).shape[1] == 1 + 1 * 2 * 1
