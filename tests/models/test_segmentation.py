"""Segmentation networks score every pixel or voxel, from random or pre-trained weights."""

from itertools import pairwise

import pytest
import torch

from unimiss.models import Backbone, SegmentationNetwork
from unimiss.models.position import resize_table
from unimiss.models.transfer import transfer


@pytest.mark.parametrize("shape", [(13, 50, 70), (16, 32, 32), (45, 63)])
def test_scores_have_the_input_s_size_whatever_it_is(shape):
    native = (16, 32, 32)[-len(shape) :]
    network = SegmentationNetwork("tiny", 2, 4, native)
    x = torch.randn(1, 2, *shape)
    full, *deep = network(x)
    assert full.shape == (1, 4, *shape)
    assert len(deep) == 4
    assert all(fine.shape[-1] > coarse.shape[-1] for fine, coarse in pairwise(deep))
    assert network.eval()(x).shape == (1, 4, *shape)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(1)
    return Backbone("tiny", {2: (64, 64), 3: (16, 32, 32)})


def test_transfer_accounts_for_every_tensor_of_both_sides(backbone):
    network = SegmentationNetwork("tiny", 1, 3, (16, 64, 32))
    report = transfer(network, backbone)
    assert sorted(report.loaded + report.resized + report.new) == sorted(network.state_dict())
    taken = set(report.loaded + report.resized)
    assert sorted(taken | set(report.unused)) == sorted(backbone.state_dict())
    assert all(name.split(".")[0] in ("stem_decoder", "head", "deep_heads") for name in report.new)
    assert all(".2d" in name or "cls" in name for name in report.unused)


def test_transfer_resizes_tables_as_grids_without_the_class_entry(backbone):
    network = SegmentationNetwork("tiny", 1, 3, (16, 64, 32))
    transfer(network, backbone)
    name = "encoder.stages.0.position.tables.3d"
    old, new = backbone.state_dict()[name], network.state_dict()[name]
    torch.testing.assert_close(new, resize_table(old, (8, 8, 8), (8, 16, 8))[:, 1:])


def test_transfer_at_the_same_grid_keeps_encoder_features(backbone):
    network = SegmentationNetwork("tiny", 1, 3, (16, 32, 32))
    transfer(network, backbone)
    for name in ("encoder.stages.2.blocks.0.mlp.0.weight", "decoder.stages.1.blocks.0.attention.q.weight"):
        assert torch.equal(network.state_dict()[name], backbone.state_dict()[name])


def test_a_first_convolution_for_more_channels_answers_equal_channels_as_before(backbone):
    network = SegmentationNetwork("tiny", 4, 3, (16, 32, 32)).eval()
    report = transfer(network, backbone)
    assert "encoder.stem.0.3d.0.0.weight" in report.resized
    x = torch.randn(1, 1, 16, 32, 32)
    one, four = backbone.encoder.stem[0](x), network.encoder.stem[0](x.expand(-1, 4, -1, -1, -1))
    torch.testing.assert_close(one, four, atol=1e-4, rtol=1e-4)
