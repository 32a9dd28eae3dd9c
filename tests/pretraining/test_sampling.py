"""Which image is seen when: every one once a pass, the same whoever asks."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from unimiss.data.cache import Cache
from unimiss.pretraining.batch import Sample, collate
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.order import Batches, Draws, dimension_at, steps_before, weight
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.sampling import Views


@pytest.fixture
def config() -> PretrainConfig:
    return PretrainConfig(
        images=["a"], volumes=["b"], steps=40, epoch_2d=2, epoch_3d=3, epochs_each=2, batch_2d=2, batch_3d=1,
        size_2d=(32, 32), size_3d=(4, 32, 32),
    )  # fmt: skip


@pytest.fixture
def views(config, tmp_path) -> Views:
    cache, rng = Cache(tmp_path), np.random.default_rng(0)
    shapes = {2: (1, 40, 50), 3: (1, 9, 40, 36)}
    cases: dict[int, list[Prepared]] = {2: [], 3: []}
    for d, shape in shapes.items():
        for i in range(4 if d == 2 else 3):
            array = rng.random(shape).astype(np.float16)
            cache.ensure(f"{d}{i}", lambda array=array: {"image": array})
            cases[d].append(Prepared(Path(f"{d}{i}"), f"{d}{i}"))
    return Views(config, cases[2], cases[3], cache)


def test_dimensions_take_turns_of_whole_epochs(config):
    assert [dimension_at(step, config) for step in range(14)] == [2] * 4 + [3] * 6 + [2] * 4


@pytest.mark.parametrize("dimension", [2, 3])
def test_steps_of_a_dimension_are_counted_as_they_happen(config, dimension):
    for step in range(40):
        happened = sum(dimension_at(s, config) == dimension for s in range(step))
        assert steps_before(step, dimension, config) == happened


def test_every_image_is_seen_once_a_pass():
    draws = Draws([1] * 4, (0, 2))
    drawn = [draws[place] for place in range(12)]
    assert Counter(drawn[:4]) == Counter(drawn[4:8]) == Counter(range(4))
    assert len({tuple(drawn[i : i + 4]) for i in (0, 4, 8)}) > 1


def test_an_image_is_seen_as_often_as_its_weight_says():
    draws = Draws([1, 3], (0, 3))
    assert Counter(draws[place] for place in range(40)) == {0: 10, 1: 30}


def test_passes_that_were_forgotten_come_back_the_same():
    draws = Draws([1] * 50, (0, 3))
    first = [draws[place] for place in range(50)]
    for later in range(20):
        draws[50 * later]
    assert [draws[place] for place in range(50)] == first


@pytest.mark.parametrize(
    ("shape", "weighting", "expected"),
    [
        ((24, 120, 120), "stride", 1),
        ((112, 122, 101), "stride", 23),
        ((35, 50, 35), "size", 2),
        ((32, 200, 100), "size", 4),
        ((300, 512, 512), "size", 64),
    ],
)
def test_a_volume_counts_as_often_as_its_sub_volumes(shape, weighting, expected):
    assert weight(shape, (16, 96, 96), weighting) == expected


def test_by_step_the_dimensions_are_spread_evenly(config):
    config = config.model_copy(update={"mixing": "step"})
    order = [dimension_at(step, config) for step in range(10)]
    assert order.count(2) == 4
    assert order[:5] == order[5:] == [2, 3, 2, 3, 3]


@pytest.mark.parametrize("dimension", [2, 3])
def test_by_step_too_steps_are_counted_as_they_happen(config, dimension):
    config = config.model_copy(update={"mixing": "step"})
    for step in range(40):
        happened = sum(dimension_at(s, config) == dimension for s in range(step))
        assert steps_before(step, dimension, config) == happened


def test_views_depend_on_seed_step_and_slot_alone(views):
    assert torch.equal(views[(5, 0)].views, views[(5, 0)].views)
    assert not torch.equal(views[(5, 0)].views, views[(6, 0)].views)
    assert views[(0, 0)].views.shape == (2, 3, 32, 32)
    assert views[(5, 0)].views.shape == (2, 1, 4, 32, 32)
    assert views[(5, 0)].drr is None


def test_two_processes_share_the_batch_of_one(config):
    whole = list(Batches(config, 3, 0, 1))
    shared = zip(Batches(config, 3, 0, 2), Batches(config, 3, 1, 2), strict=True)
    assert [sorted(a + b) for a, b in shared] == whole
    assert whole[0][0][0] == 3


def test_a_batch_holds_all_first_views_before_all_second_ones():
    samples = [Sample(torch.tensor([[i], [10 + i]])) for i in range(3)]
    assert collate(samples).views.flatten().tolist() == [0, 1, 2, 10, 11, 12]
