"""A step that would spread infinities is left out, and the teacher is steady."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from unimiss.devices import make_fabric
from unimiss.errors import JobError
from unimiss.pretraining.batch import Batch
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import Pretraining


@pytest.fixture
def training() -> Pretraining:
    config = PretrainConfig(
        images=["a"], steps=4, batch_2d=2, batch_3d=1, size_2d=(32, 32), size_3d=(4, 32, 32), epoch_2d=1,
        epoch_3d=1, outputs=8, teacher_temperature=0.04, momentum=0.9, lr=1e-3, warmup=0, clip=3.0,
        clip_each=False, center_from_first=False,
        shared_center=False, freeze_last=0, checkpoint_every=1, workers=0, precision="32-true",
        drop_path=0.5, decoder_drop_path=0.0,
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


def gradients(training, views, parts):
    """Gradients of a step in so many parts, before they are clipped and used."""
    training.parts = {2: parts, 3: parts}
    center = torch.zeros_like(training.objectives[2].center)
    training.objectives[2].center.copy_(center)
    training.learner.eval()
    losses = training._pass(batch_of(views), center, parts)
    found = [p.grad.clone() for p in training.learner.parameters() if p.grad is not None]
    training.optimizer.zero_grad(set_to_none=True)
    return losses, found, training.objectives[2].center.clone()


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_step_in_parts_is_the_step(training, parts):
    views = torch.randn(8, 3, 32, 32)
    whole, in_parts = gradients(training, views, 1), gradients(training, views, parts)
    assert in_parts[0] == pytest.approx(whole[0], abs=1e-5)
    for one, other in zip(whole[1], in_parts[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(whole[2], in_parts[2])


class Small(torch.nn.Module):
    """A student that runs out of memory for more than so many views, as a GPU does."""

    def __init__(self, student, most):
        super().__init__()
        self.student, self.most = student, most

    def forward(self, views):
        if len(views) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.student(views)


def test_too_little_memory_makes_the_parts_smaller_and_says_so(training, monkeypatch):
    monkeypatch.setattr(training.fabric, "no_backward_sync", lambda module, enabled: nullcontext())
    training.student = Small(training.student, most=2)
    values = training.step(0, batch_of(torch.randn(8, 3, 32, 32)))
    assert values["loss"] > 0
    assert training.parts[2] == 4
    assert len(training.notes) == 2
    assert "in 4 parts" in training.notes[-1]
    training.notes.clear()
    training.step(1, batch_of(torch.randn(8, 3, 32, 32)))
    assert training.notes == []


def test_too_little_memory_for_the_first_center_makes_the_parts_smaller_too(training, monkeypatch):
    monkeypatch.setattr(training.fabric, "no_backward_sync", lambda module, enabled: nullcontext())
    training.config = training.config.model_copy(update={"center_from_first": True})
    training.student, training.teacher = Small(training.student, most=2), Small(training.teacher, most=2)
    training._start_center(batch_of(torch.randn(8, 3, 32, 32)))
    assert training.parts[2] == 4
    assert training.objectives[2].center.abs().max() > 0


def test_too_little_memory_for_one_image_ends_with_advice(training, monkeypatch):
    training.student = Small(training.student, most=1)
    monkeypatch.setattr(training.fabric, "no_backward_sync", lambda module, enabled: nullcontext())
    center = training.objectives[2].center.normal_().clone()
    with pytest.raises(JobError, match="single image"):
        training.step(0, batch_of(torch.randn(4, 3, 32, 32)))
    assert torch.equal(training.objectives[2].center, center)


def test_each_dimension_has_its_own_center_and_a_checkpoint_keeps_both(training):
    of_2d, of_3d = training.objectives[2].center, training.objectives[3].center
    training.step(0, batch_of(torch.randn(4, 3, 32, 32)))
    assert of_2d.abs().max() > 0
    assert of_3d.abs().max() == 0
    of_3d.fill_(2)
    saved, expected = training.checkpoint(1, {}), of_2d.clone()
    of_2d.zero_()
    of_3d.zero_()
    assert training.restore(saved) == 1
    assert torch.equal(of_2d, expected)
    assert of_3d.min() == 2
