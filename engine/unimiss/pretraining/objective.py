"""UniMiSS's objective: a student predicts its teacher across views, and across dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from unimiss.models.backbone import Backbone
from unimiss.models.head import ProjectionHead

Logits = Mapping[str, Tensor]

VOLUME_TERMS = (
    ("volume", "volume"),
    ("slices", "volume"),
    ("slices", "slices"),
    ("volume", "slices"),
)
"""Student and teacher side of the four terms for volumes, in the release's order."""


class Learner(nn.Module):
    """Backbone and head; teacher and student are two of these.

    Parameters
    ----------
    backbone : Backbone
        MiT with class token.
    head : ProjectionHead
        For the backbone's width.
    """

    def __init__(self, backbone: Backbone, head: ProjectionHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        """Score two views of B images, all first views before all second ones.

        Parameters
        ----------
        views : Tensor, shape (2B, 3, height, width) or (2B, 1, depth, height, width)
            A volume is scored as such, and as the mean over its axial slices read as grey radiographs.

        Returns
        -------
        dict of str to Tensor, each (2B, outputs)
            "image", or "volume" and "slices".
        """
        if views.ndim == 4:
            return {"image": self.head(self.backbone(views))}
        seen = {"volume": self.head.features(self.backbone(views)), "slices": self.slice_features(views)}
        return self.score(seen)

    def slice_features(self, volumes: Tensor) -> Tensor:
        """Mean features (B, bottleneck) of the axial slices of volumes (B, 1, depth, height, width)."""
        n, _, depth = volumes.shape[:3]
        slices = volumes[:, 0].flatten(0, 1)[:, None]
        return self.head.features(self.backbone(slices)).view(n, depth, -1).mean(dim=1)

    def score(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Score features by name, in one pass: the last layer is large, and its rows have to be normed."""
        scores = self.head.logits(torch.cat(list(features.values())))
        parts = torch.split(scores, [len(part) for part in features.values()])
        return dict(zip(features, parts, strict=True))


class Distillation(nn.Module):
    """Cross-entropy between centred, sharpened teacher scores and student scores of the other view.

    Parameters
    ----------
    outputs : int
        Number of prototypes.
    student_temperature, teacher_temperature : float
        0.1 and 0.04 in the paper.
    center_momentum : float
        0.9 in the paper.
    """

    center: Tensor

    def __init__(
        self,
        outputs: int,
        *,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        center_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.center_momentum = center_momentum
        self.register_buffer("center", torch.zeros(1, outputs))

    def targets(self, teacher: Tensor) -> Tensor:
        """Centred and sharpened teacher scores (N, outputs): what the student is to predict."""
        return ((teacher.float() - self.center) / self.teacher_temperature).softmax(dim=-1)

    def term(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Cross-entropy of scores (2B, outputs) of both views."""
        targets = torch.cat([*self.targets(teacher).chunk(2)[::-1]])  # each view's target is the other view's
        scores = (student / self.student_temperature).log_softmax(dim=-1)
        return -(targets * scores).sum(dim=-1).mean()

    def move_center(self, mean: Tensor, average: Callable[[Tensor], Tensor]) -> None:
        """Move the center towards the mean teacher score (1, outputs) of this process's images."""
        self.center.mul_(self.center_momentum).add_(average(mean), alpha=1 - self.center_momentum)


class SelfDistillation(Distillation):
    """UniMiSS's objective: an image to itself; a volume and its slices to themselves and each other.

    Parameters
    ----------
    outputs, **settings
        As in `Distillation`.
    center_each_term : bool
        The release's order: the center moves after each of a volume's four terms, so that they use
        different centers. By default it moves once a step.
    """

    def __init__(self, outputs: int, *, center_each_term: bool = False, **settings: float) -> None:
        super().__init__(outputs, **settings)
        self.center_each_term = center_each_term

    def forward(
        self, student: Logits, teacher: Logits, average: Callable[[Tensor], Tensor] = lambda x: x
    ) -> dict[str, Tensor]:
        """Compute every term, named by ``loss``, and move the center.

        Parameters
        ----------
        student, teacher : mapping of str to Tensor, each (2B, outputs)
            As `Learner` gives them.
        average : callable
            Mean of a tensor over all processes.

        Returns
        -------
        dict of str to Tensor
            "loss", the sum, and the terms "loss_<student>_<teacher>".
        """
        pairs = [("image", "image")] if "image" in student else list(VOLUME_TERMS)
        terms: dict[str, Tensor] = {}
        for of_student, of_teacher in pairs:
            targets = teacher[of_teacher].detach().float()
            terms[f"loss_{of_student}_{of_teacher}"] = self.term(student[of_student].float(), targets)
            if self.center_each_term:
                self.move_center(targets.mean(dim=0, keepdim=True), average)
        if not self.center_each_term:
            means = [logits.detach().float().mean(dim=0, keepdim=True) for logits in teacher.values()]
            self.move_center(torch.stack(means).mean(dim=0), average)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's: an exponential moving average.

    The student may have more: UniMiSS+'s teacher reconstructs nothing.
    """
    of_student = dict(student.named_parameters())
    pairs = [(parameter, of_student[name].detach()) for name, parameter in teacher.named_parameters()]
    torch._foreach_lerp_([t for t, _ in pairs], [s for _, s in pairs], 1 - momentum)
