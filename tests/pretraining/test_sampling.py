"""Which image is seen when: every one once a pass, the same whoever asks."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from unimiss.data.cache import Cache
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.sampling import Batches, Sample, Views, collate, dimension_at, steps_before


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


def test_every_image_is_seen_once_a_pass(views):
    drawn = [views._drawn(step, slot, 2) for step in range(4) for slot in range(2)]
    assert Counter(drawn[:4]) == Counter(drawn[4:]) == Counter(range(4))


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
