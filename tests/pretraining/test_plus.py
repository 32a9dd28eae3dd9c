"""UniMiSS+'s terms are those of the paper, computed here a second time, plainly."""

import pytest
import torch
from torch import Tensor

from unimiss.devices import make_fabric
from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead
from unimiss.models.recompute import recompute
from unimiss.pretraining.batch import Batch
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import Pretraining
from unimiss.pretraining.objective import follow
from unimiss.pretraining.plus import PlusDistillation, PlusStudent, PlusTeacher, to_unit_range

NATIVE = {2: (32, 32), 3: (4, 32, 32)}
NONE = torch.tensor([], dtype=torch.long)


def learner(network: str = "tiny", *, reconstruction: bool = True) -> PlusStudent:
    torch.manual_seed(0)
    backbone = Backbone(network, NATIVE, reconstruction=reconstruction)
    return PlusStudent(backbone, ProjectionHead(backbone.embed_dim, 16, hidden=32))


def batch_3d(volumes: int, shown: list[int]) -> Batch:
    torch.manual_seed(1)
    drr = torch.rand(2 * len(shown), 3, 32, 32) if shown else None
    return Batch(torch.randn(2 * volumes, 1, 4, 32, 32), drr, torch.tensor(shown, dtype=torch.long))


def cross_entropy(student: Tensor, teacher: Tensor, center: Tensor) -> float:
    """Mean over images and both cross pairs of views, one pair after the other."""
    total, half = 0.0, len(student) // 2
    for i in range(half):
        for of_student, of_teacher in ((i, half + i), (half + i, i)):
            target = torch.softmax((teacher[of_teacher] - center) / 0.04, 0)
            total -= float((target * torch.log_softmax(student[of_student] / 0.1, 0)).sum())
    return total / (2 * half)


def squared_error(reconstruction: Tensor, expected: Tensor) -> float:
    return float(((1 / (1 + torch.exp(-reconstruction)) - expected) ** 2).mean())


@torch.no_grad()
def test_3d_terms_are_the_papers():
    student, teacher = learner().eval(), learner(reconstruction=False).eval()
    batch = batch_3d(3, [0, 2])
    objective = PlusDistillation(16)
    objective.center.normal_()
    center = objective.center[0].clone()
    targets = PlusTeacher(teacher.backbone, teacher.head)(batch.views)
    scores = student(batch.views, batch.drr)
    terms = {name: float(term) for name, term in objective(scores, targets, batch).items()}

    representation, pixels = student.backbone.reconstruct(batch.views)
    of_drr, drr_pixels = student.backbone.reconstruct(batch.drr)
    slices = torch.stack(
        [student.head(student.backbone(batch.views[:, :, z].repeat(1, 3, 1, 1))) for z in (0, 2)]
    ).mean(0)
    target = teacher.head(teacher.backbone(batch.views))
    scaled = torch.stack([(view - view.min()) / (view.max() - view.min()) for view in batch.views])
    expected = {
        "loss_volume_volume": cross_entropy(student.head(representation), target, center),
        "loss_slices_volume": cross_entropy(slices, target, center),
        "loss_drr_volume": cross_entropy(student.head(of_drr), target[[0, 2, 3, 5]], center),
        "loss_reconstruction_volume": squared_error(pixels, scaled),
        "loss_reconstruction_drr": squared_error(drr_pixels, batch.drr),
    }
    weights = (1, 0.1, 0.5, 5, 5)
    total = sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))
    assert terms == pytest.approx({"loss": total, **expected}, rel=1e-4)
    torch.testing.assert_close(objective.center[0], 0.9 * center + 0.1 * target.mean(0))  # moved once


@torch.no_grad()
def test_2d_terms_are_the_papers():
    student, teacher = learner().eval(), learner(reconstruction=False).eval()
    batch = Batch(torch.rand(4, 3, 32, 32), None, NONE)
    objective = PlusDistillation(16)
    targets = PlusTeacher(teacher.backbone, teacher.head)(batch.views)
    terms = {k: float(v) for k, v in objective(student(batch.views), targets, batch).items()}
    representation, pixels = student.backbone.reconstruct(batch.views)
    target = teacher.head(teacher.backbone(batch.views))
    image = cross_entropy(student.head(representation), target, torch.zeros(16))
    error = squared_error(pixels, batch.views)
    assert terms == pytest.approx(
        {"loss": image + 5 * error, "loss_image_image": image, "loss_reconstruction_image": error}, rel=1e-4
    )


@torch.no_grad()
def test_weights_are_settings():
    student, batch = learner().eval(), batch_3d(1, [0])
    scores, targets = student(batch.views, batch.drr), {"volume": torch.randn(2, 16)}
    objective = PlusDistillation(16, drr_weight=2, slices_weight=3, reconstruction_weight=0)
    terms = objective(scores, targets, batch)
    expected = terms["loss_volume_volume"] + 2 * terms["loss_drr_volume"] + 3 * terms["loss_slices_volume"]
    torch.testing.assert_close(terms["loss"], expected)


@torch.no_grad()
def test_volumes_without_a_radiograph_have_no_such_term():
    student, batch = learner().eval(), batch_3d(2, [])
    terms = PlusDistillation(16)(student(batch.views), {"volume": torch.randn(4, 16)}, batch)
    assert set(terms) == {
        "loss",
        "loss_volume_volume",
        "loss_slices_volume",
        "loss_reconstruction_volume",
    }


@torch.no_grad()
@pytest.mark.parametrize("shares", [[[0, 1], [2]], [[0, 1, 2], []]])
def test_radiographs_may_be_shared_unevenly_by_processes(shares):
    """One process has volumes 0 to 2, the other one 3 to 5; all of 0 to 2 and some more have a radiograph."""
    student, objective = learner().eval(), PlusDistillation(16)
    shown = [shares[0], [3 + i for i in shares[1]]]
    whole = batch_3d(6, shown[0] + shown[1])
    targets = torch.randn(12, 16)
    alone = objective(student(whole.views, whole.drr), {"volume": targets}, whole)
    mean = (len(shares[0]) + len(shares[1])) / 2
    parts, before = [], 0
    of_views = torch.arange(12).view(2, 6)
    for rank, share in enumerate(shares):
        mine = of_views[:, 3 * rank : 3 * rank + 3].flatten()
        places = torch.arange(before, before + len(share))
        before += len(share)
        drr = whole.drr[torch.cat([places, places + len(whole.shown)])] if share else None
        part = Batch(whole.views[mine], drr, torch.tensor(share, dtype=torch.long))
        objective = PlusDistillation(16)
        parts.append(
            objective(
                student(part.views, part.drr),
                {"volume": targets[mine]},
                part,
                lambda x: x if x.numel() > 1 else torch.tensor(mean),
            )
        )
    assert set(parts[0]) == set(parts[1]) == set(alone)
    for name, value in alone.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["tiny", "plus"])
def test_gradients_reach_the_reconstruction_in_both_dimensions(network):
    student, objective = learner(network), PlusDistillation(16)
    batches = (batch_3d(1, [0]), Batch(torch.rand(2, 3, 32, 32), None, NONE))
    reached = []
    for batch in batches:
        student.zero_grad()
        kind = "volume" if batch.views.ndim == 5 else "image"
        objective(student(batch.views, batch.drr), {kind: torch.randn(2, 16)}, batch)["loss"].backward()
        reached.append({name for name, p in student.named_parameters() if p.grad is not None})
    names = {n for n, _ in student.named_parameters() if "stem_decoder." in n or "pixels." in n}
    assert names
    assert {name for name in names if ".2d" in name} <= reached[1]
    assert names <= reached[0]  # of radiographs and of volumes


def test_forgetting_activations_changes_no_gradient():
    gradients = []
    for on in (False, True):
        student, batch = learner().train(), batch_3d(1, [0])
        recompute(student, on)
        targets = {"volume": torch.ones(2, 16).cumsum(1)}
        PlusDistillation(16)(student(batch.views, batch.drr), targets, batch)["loss"].backward()
        gradients.append([p.grad for p in student.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_a_volume_of_one_value_is_scaled_to_zero():
    assert torch.equal(to_unit_range(torch.full((1, 1, 2, 2, 2), 3.0)), torch.zeros(1, 1, 2, 2, 2))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_teacher_follows_without_a_reconstruction(precision):
    config = PretrainConfig(
        images=["a"], volumes=["b"], objective="unimiss+", steps=4, batch_2d=1, batch_3d=1, size_2d=(32, 32),
        size_3d=(4, 32, 32), epoch_2d=1, epoch_3d=1, epochs_each=1, outputs=16, teacher_temperature=0.04,
        momentum=0.9, lr=1e-3, warmup=0, clip=0, clip_each=False, center_from_first=False,
        shared_center=False, freeze_last=0, checkpoint_every=1, workers=0,
        decoder_drop_path=0.5, precision=precision,
    )  # fmt: skip
    training = Pretraining(config, make_fabric(precision=precision), resumed=False)
    own = {name for name, _ in training.teacher.named_parameters()}
    of_student = {name for name, _ in training.learner.named_parameters()}
    assert own < of_student
    assert all("stem_decoder." in name or "pixels." in name for name in of_student - own)
    before = training.teacher.backbone.encoder.cls.clone()
    values = training.step(0, batch_3d(1, [0]))
    assert all(value == value for value in values.values())
    assert not torch.equal(training.teacher.backbone.encoder.cls, before)
    saved = training.checkpoint(1, {})
    assert saved.description.reconstruction
    assert saved.network().reconstructs
    assert training.restore(saved) == 1


def test_a_teacher_with_fewer_parameters_follows_by_name():
    teacher, student = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2)
    before = teacher.weight.detach().clone()
    follow(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, 0.9 * before + 0.1 * student.weight)


@pytest.mark.parametrize("shown", [[0, 1, 2], [1], [0, 3], []])
@pytest.mark.parametrize("parts", [2, 3, 4])
@torch.no_grad()
def test_a_batch_in_parts_has_the_losses_of_the_whole_however_uneven_its_radiographs(shown, parts):
    student, teacher = learner().eval(), PlusTeacher(*learner(reconstruction=False).eval().children())
    batch = batch_3d(4, shown)

    def losses(of: Batch) -> dict[str, Tensor]:
        return PlusDistillation(16)(student(of.views, of.drr), teacher(of.views), of)

    added: dict[str, float] = {}
    for part in batch.split(parts):
        for name, value in losses(part).items():
            added[name] = added.get(name, 0.0) + float(value) * len(part) / len(batch)
    assert added == pytest.approx({name: float(value) for name, value in losses(batch).items()}, rel=1e-4)
