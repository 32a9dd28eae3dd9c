"""A step that would spread infinities is left out, and the teacher is steady."""

import pytest
import torch
from torch import Tensor

from unimiss.devices import make_fabric
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import Pretraining
from unimiss.pretraining.sampling import Batch


@pytest.fixture
def training() -> Pretraining:
    config = PretrainConfig(
        images=["a"], steps=4, batch_2d=2, batch_3d=1, size_2d=(32, 32), size_3d=(4, 32, 32), epoch_2d=1,
        epoch_3d=1, outputs=8, teacher_temperature=0.04, momentum=0.9, lr=1e-3, warmup=0, clip=3.0,
        clip_each=False, freeze_last=0, checkpoint_every=1, workers=0, precision="32-true", drop_path=0.5,
        decoder_drop_path=0.0,
    )  # fmt: skip
    return Pretraining(config, make_fabric(precision="32-true"), resumed=False)


def batch_of(views: Tensor) -> Batch:
    return Batch(views, None, torch.tensor([], dtype=torch.long))


def test_the_teacher_has_no_stochastic_depth(training):
    views = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(training.teacher(views)["image"], training.teacher(views)["image"])


def test_gradients_that_are_not_finite_leave_the_weights_alone_and_are_reported(training):
    weight = training.learner.backbone.encoder.cls
    before = weight.detach().clone()
    weight.register_hook(lambda gradient: gradient * float("inf"))
    values = training.step(0, batch_of(torch.randn(4, 3, 32, 32)))
    assert values["loss"] != values["loss"]
    assert torch.equal(weight, before)
    assert all(parameter.isfinite().all() for parameter in training.teacher.parameters())


def test_a_step_moves_student_and_teacher(training):
    student = training.learner.backbone.encoder.cls.detach().clone()
    teacher = training.teacher.backbone.encoder.cls.detach().clone()
    assert training.step(0, batch_of(torch.randn(4, 3, 32, 32)))["loss"] > 0
    assert not torch.equal(training.learner.backbone.encoder.cls, student)
    assert not torch.equal(training.teacher.backbone.encoder.cls, teacher)
