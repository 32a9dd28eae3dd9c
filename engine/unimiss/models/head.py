"""The projection head of self-distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.backbone import initialise


def _full_precision(x: Tensor) -> torch.autocast:
    """Leave mixed precision: bf16 rounds a cosine by 0.004, and the teacher divides it by 0.02 to 0.04."""
    return torch.autocast(x.device.type, enabled=False)


class ProjectionHead(nn.Module):
    """MLP, L2 norm, and a linear layer whose rows have length 1.

    Parameters
    ----------
    dim : int
        Width of the representation.
    outputs : int
        Number of prototypes; 65 536 in the paper.
    hidden, bottleneck : int
        Widths of the MLP.
    """

    def __init__(self, dim: int, outputs: int, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = nn.Linear(bottleneck, outputs, bias=False)
        initialise(self)

    def features(self, x: Tensor) -> Tensor:
        """Return unit vectors (B, bottleneck) of representations (B, dim)."""
        with _full_precision(x):
            return F.normalize(self.mlp(x.float()), dim=-1)

    def logits(self, features: Tensor) -> Tensor:
        """Scores (B, outputs) of features (B, bottleneck).

        Linear, so the mean of the scores of several slices is the score of their mean feature.
        """
        with _full_precision(features):
            return F.linear(features.float(), F.normalize(self.last.weight, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, outputs) of representations (B, dim)."""
        return self.logits(self.features(x))
