"""Whether a pre-training learns: what its teacher says about a batch, and words for what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unimiss.pretraining.objective import Distillation, Learner

_LEAST_SPREAD = 0.02  # of unit vectors; they start at about 0.35, and a collapsed run reads 0.000 to 0.008
_MOST_ENTROPY = 0.99  # of the logarithm of the number of prototypes
_FEWEST_IMAGES = 4
_LEAST_DISTANCE = 1e-4  # 1 less the cosine of different images, below which rounding decides
_FIRST_STEPS = 30  # in which the center still moves towards its place


@torch.no_grad()
def measure(
    teacher: Learner,
    objective: Distillation,
    parts: Sequence[Tensor],
    average: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    """Look at a batch through the teacher.

    Parameters
    ----------
    teacher : Learner
        Backbone and head.
    objective : Distillation
        Whose center and temperature sharpen the teacher's scores.
    parts : sequence of Tensor, each (2B, C, *shape)
        What fits into memory at once; all first views before all second ones.
    average : callable
        Mean of a tensor over all processes.

    Returns
    -------
    dict of str to float
        "teacher_entropy": mean entropy of the targets, 1 where they are uniform, 0 where each names one
        prototype.
        "prototypes_used": exponential of the entropy of the mean target, as a share of all prototypes.
        "feature_spread": root mean squared distance of the unit features from their mean, 0 to 1.
        "view_agreement": how much closer two views of an image are than views of different images, as a share
        of what it can be: 1 where views of an image are equal, 0 where the features do not tell images apart.
        Empty for fewer than four images, which say nothing.
    """
    if sum(len(views) for views in parts) < 2 * _FEWEST_IMAGES:
        return {}
    by_part = [teacher.head.features(teacher.backbone(views)).float().chunk(2) for views in parts]
    # Unit vectors of bf16 are longer or shorter by up to 0.4 %, which is more than collapsed ones differ by.
    first, second = (F.normalize(torch.cat(view), dim=1) for view in zip(*by_part, strict=True))
    features = torch.cat([first, second])
    targets = objective.targets(teacher.head.logits(features))
    uniform = math.log(targets.shape[1])
    cosines = first @ second.T
    n = len(first)
    others = (cosines.sum() - cosines.trace()) / (n * (n - 1))
    found = {
        "teacher_entropy": _entropy(targets).mean() / uniform,
        "prototypes_used": _entropy(average(targets.mean(dim=0))).exp() / targets.shape[1],
        "feature_spread": (features - features.mean(dim=0)).square().sum(dim=1).mean().sqrt(),
        "view_agreement": (cosines.trace() / n - others) / (1 - others).clamp_min(_LEAST_DISTANCE),
    }
    return {name: float(average(value)) for name, value in found.items()}


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-12).log()).sum(dim=-1)


class Watch:
    """Turns signals into warnings, one for each time that something begins to go wrong."""

    def __init__(self) -> None:
        self._wrong: set[str] = set()

    def warnings(self, step: int, signals: dict[str, float], prototypes: int) -> list[str]:
        """Return what there is to say after `step` steps, each without its full stop."""
        if not signals or step < _FIRST_STEPS:
            return []
        spread, entropy = signals["feature_spread"], signals["teacher_entropy"]
        used = signals["prototypes_used"] * prototypes
        states = {
            "collapse": (
                spread < _LEAST_SPREAD,
                f"the features have collapsed: over a batch they spread by {spread:.3f}, where 1 is most; "
                "start again with a lower learning rate (--set lr=…) or a slower teacher (--set momentum=…)",
            ),
            "uniform": (
                entropy > _MOST_ENTROPY,
                f"the teacher tells nothing apart: its entropy is {entropy:.1%} of the most; "
                "start again with a lower teacher_temperature or fewer outputs",
            ),
            "single": (
                used < 1.5,
                "one prototype takes all images; start again with a slower teacher (--set momentum=…) "
                "or a lower learning rate (--set lr=…)",
            ),
        }
        new = [text for name, (wrong, text) in states.items() if wrong and name not in self._wrong]
        self._wrong = {name for name, (wrong, _) in states.items() if wrong}
        return new
