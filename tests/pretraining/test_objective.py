"""The objective and the schedules give the release's numbers (values in tests/release)."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead
from unimiss.pretraining.objective import Learner, SelfDistillation, follow
from unimiss.pretraining.schedules import cosine

RELEASE = json.loads((Path(__file__).parents[1] / "release" / "manifest.json").read_text())


def drawn(name: str, *shape: int) -> torch.Tensor:
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"input:loss/{name}".encode())))
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def test_2d_loss_equals_the_release_while_its_center_moves():
    objective = SelfDistillation(256)
    student, teacher = {"image": drawn("student", 8, 256)}, {"image": drawn("teacher", 8, 256)}
    losses = [float(objective(student, teacher)["loss"]) for _ in range(3)]
    assert losses == pytest.approx(RELEASE["loss_2d"]["values"], abs=1e-4)
    assert float(objective.center.abs().mean()) == pytest.approx(
        RELEASE["loss_2d"]["center_mean_abs"], abs=1e-6
    )


def test_3d_loss_equals_the_release_in_its_order_of_center_updates():
    objective = SelfDistillation(256, center_each_term=True)
    student = {"volume": drawn("student", 8, 256), "slices": drawn("student_slices", 8, 16, 256).mean(1)}
    teacher = {"volume": drawn("teacher", 8, 256), "slices": drawn("teacher_slices", 8, 16, 256).mean(1)}
    terms = objective(student, teacher)
    assert [float(v) for n, v in terms.items() if n != "loss"] == pytest.approx(
        RELEASE["loss_3d"]["values"], abs=1e-4
    )
    assert float(terms["loss"]) == pytest.approx(RELEASE["loss_3d"]["total"], abs=1e-4)


def test_terms_of_a_step_share_one_center_by_default():
    student = {"volume": drawn("student", 8, 256), "slices": drawn("student_slices", 8, 16, 256).mean(1)}
    same = {"volume": student["volume"], "slices": student["volume"]}
    terms = SelfDistillation(256)({"volume": student["volume"], "slices": student["volume"]}, same)
    values = {round(float(value), 5) for name, value in terms.items() if name != "loss"}
    assert len(values) == 1


@pytest.mark.parametrize(
    ("name", "base", "final", "warmup"),
    [("lr", 1e-3, 1e-6, 8), ("momentum", 0.996, 1.0, 0), ("weight_decay", 0.04, 0.4, 0)],
)
def test_schedules_equal_the_release(name, base, final, warmup):
    ours = [cosine(step, 20, base, final, warmup) for step in range(20)]
    assert ours == pytest.approx([value for _, value in RELEASE["schedules"][name]], rel=1e-9, abs=1e-12)


def test_the_mean_of_slice_scores_is_the_score_of_the_mean_feature():
    torch.manual_seed(0)
    learner = Learner(
        Backbone("tiny", {2: (32, 32), 3: (4, 32, 32)}), ProjectionHead(48, 64, hidden=32)
    ).eval()
    views = torch.randn(2, 1, 4, 32, 32)
    with torch.inference_mode():
        out = learner(views)
        slices = views[:, 0].flatten(0, 1)[:, None].repeat(1, 3, 1, 1)
        direct = learner.head(learner.backbone(slices)).view(2, 4, -1).mean(dim=1)
    torch.testing.assert_close(out["slices"], direct, atol=1e-5, rtol=1e-4)


def test_the_teacher_follows_by_an_exponential_moving_average():
    teacher, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = teacher.weight.detach().clone()
    follow(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, 0.9 * before + 0.1 * student.weight)


def test_scores_are_exact_in_mixed_precision():
    torch.manual_seed(0)
    head = ProjectionHead(48, 64, hidden=32)
    x = torch.randn(8, 48)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head(x)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, head(x), atol=1e-6, rtol=0)
