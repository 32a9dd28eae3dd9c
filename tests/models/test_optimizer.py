"""Learning rates by stage."""

from __future__ import annotations

import pytest

from unimiss.models.classification import ClassificationNetwork
from unimiss.models.optimizer import by_stage
from unimiss.models.segmentation import SegmentationNetwork


@pytest.mark.parametrize("kind", [ClassificationNetwork, SegmentationNetwork])
def test_every_parameter_is_in_one_group_and_early_stages_learn_slower(kind):
    network = kind("tiny", 3, 2, (32, 32))
    groups = by_stage(network, 0.5)
    assert [group["share"] for group in groups] == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]
    numbers = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(numbers) == sorted(map(id, network.parameters()))
    stage = {id(parameter): group["share"] for group in groups for parameter in group["params"]}
    assert stage[id(next(network.encoder.stem.parameters()))] == 0.5**5
    assert stage[id(next(network.encoder.stages[3].parameters()))] == 0.5
    assert stage[id(network.head.weight)] == 1.0


def test_no_share_freezes_the_encoder_alone():
    groups = by_stage(ClassificationNetwork("tiny", 3, 2, (32, 32)), 0.0)
    assert [group["share"] for group in groups] == [0, 0, 0, 0, 0, 1]
