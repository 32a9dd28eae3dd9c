"""Signals tell a pre-training that learns from one that has collapsed, in figures and in words."""

import copy

import pytest
import torch

from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead
from unimiss.pretraining.objective import Learner, SelfDistillation
from unimiss.pretraining.signals import Watch, measure

GOOD = {"feature_spread": 0.3, "teacher_entropy": 0.6, "prototypes_used": 0.5}


@pytest.fixture
def learner():
    torch.manual_seed(0)
    return Learner(Backbone("tiny", {2: (32, 32)}), ProjectionHead(48, 64, hidden=32)).eval()


def signals(learner, views, temperature=0.04):
    objective = SelfDistillation(64, teacher_temperature=temperature)
    return measure(learner, objective, [views], lambda x: x)


def test_different_images_spread_and_equal_ones_do_not(learner):
    views = torch.randn(8, 3, 32, 32) * torch.rand(8, 3, 1, 1) * 5
    assert signals(learner, views)["feature_spread"] > 1e-3
    same = views[:1].expand(8, -1, -1, -1)
    assert signals(learner, same)["feature_spread"] < 1e-5
    assert signals(learner, same)["view_agreement"] == pytest.approx(0, abs=1e-5)


def test_views_of_one_image_agree_more_than_those_of_others(learner):
    views = torch.randn(4, 3, 32, 32) * torch.rand(4, 3, 1, 1) * 5
    assert signals(learner, torch.cat([views, views]))["view_agreement"] == pytest.approx(1, abs=1e-3)
    noise = torch.randn(8, 3, 32, 32)
    assert abs(signals(learner, noise)["view_agreement"]) < 0.5


def test_entropy_and_used_prototypes_follow_the_temperature(learner):
    views = torch.randn(8, 3, 32, 32)
    sharp, soft = signals(learner, views, 1e-3), signals(learner, views, 100.0)
    assert soft["teacher_entropy"] == pytest.approx(1, abs=1e-3)
    assert soft["prototypes_used"] == pytest.approx(1, abs=1e-3)
    assert sharp["teacher_entropy"] < 0.3
    assert sharp["prototypes_used"] <= 8 / 64 + 1e-3
    one = copy.deepcopy(learner)
    torch.nn.init.zeros_(one.head.mlp[-1].weight)
    torch.nn.init.ones_(one.head.mlp[-1].bias)
    assert signals(one, views, 1e-3)["prototypes_used"] * 64 == pytest.approx(1, abs=0.05)


def test_a_batch_in_parts_gives_the_same_signals(learner):
    first, second = torch.randn(2, 6, 3, 32, 32).unbind()
    objective = SelfDistillation(64)
    parts = [torch.cat([first[i], second[i]]) for i in (slice(0, 2), slice(2, 6))]
    whole = measure(learner, objective, [torch.cat([first, second])], lambda x: x)
    assert measure(learner, objective, parts, lambda x: x) == pytest.approx(whole, abs=1e-5)


def test_too_few_images_say_nothing(learner):
    assert signals(learner, torch.randn(6, 3, 32, 32)) == {}
    assert Watch().warnings(50, {}, 256) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"feature_spread": 0.001}, "collapsed"),
        ({"teacher_entropy": 0.999}, "tells nothing apart"),
        ({"prototypes_used": 1 / 256}, "one prototype"),
    ],
)
def test_each_state_is_told_once_while_it_lasts(change, told):
    watch = Watch()
    assert watch.warnings(40, GOOD, 256) == []
    assert watch.warnings(5, GOOD | change, 256) == []  # too early to say
    (text,) = watch.warnings(50, GOOD | change, 256)
    assert told in text
    assert "--set" in text or "lower" in text
    assert watch.warnings(60, GOOD | change, 256) == []
    assert watch.warnings(70, GOOD, 256) == []
    assert len(watch.warnings(80, GOOD | change, 256)) == 1
