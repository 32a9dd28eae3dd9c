"""UniMiSS+'s objective: radiographs of CTs predict their CT, and every image is reconstructed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unimiss.pretraining.batch import Batch
from unimiss.pretraining.objective import Distillation, Learner, Logits

_SLICE_STEP = 2  # every second slice of a volume is read as a radiograph


class PlusStudent(Learner):
    """Backbone with reconstruction, and head."""

    def forward(self, views: Tensor, drr: Tensor | None = None) -> dict[str, Tensor]:
        """Score and reconstruct two views of B images, all first views before all second ones.

        Parameters
        ----------
        views : Tensor, shape (2B, 3, height, width) or (2B, 1, depth, height, width)
            Of images.
        drr : Tensor or None, shape (2R, 3, height, width)
            Of radiographs of R of them, where they are volumes.

        Returns
        -------
        dict of str to Tensor
            Scores: "image" (2B, outputs), or "volume" and "slices" (2B, outputs), and "drr" (2R, outputs).
            Reconstructions, as logits: "reconstruction_…" of image, volume and drr, shaped like the input.
        """
        pictures = {"image" if views.ndim == 4 else "volume": views} | ({} if drr is None else {"drr": drr})
        features, reconstructions = {}, {}
        for name, shown in pictures.items():
            representation, reconstruction = self.backbone.reconstruct(shown)
            features[name] = self.head.features(representation)
            reconstructions[f"reconstruction_{name}"] = reconstruction
        if views.ndim == 5:
            features["slices"] = self.slice_features(views[:, :, ::_SLICE_STEP])
        return self.score(features) | reconstructions


class PlusTeacher(Learner):
    """Backbone and head; of volumes it sees neither slices nor radiographs, and it reconstructs nothing."""

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        """Scores (2B, outputs) of the views of B images, called "image" or "volume"."""
        return {"image" if views.ndim == 4 else "volume": self.head(self.backbone(views))}


class PlusDistillation(Distillation):
    """Self-distillation towards the teacher's view of the volume, and reconstruction.

    Parameters
    ----------
    outputs, **settings
        As in `Distillation`.
    drr_weight, slices_weight, reconstruction_weight : float
        Of the terms; 0.5, 0.1 and 5 in the paper.
    """

    def __init__(
        self,
        outputs: int,
        *,
        drr_weight: float = 0.5,
        slices_weight: float = 0.1,
        reconstruction_weight: float = 5.0,
        **settings: float,
    ) -> None:
        super().__init__(outputs, **settings)
        self.weights = {
            "loss_drr_volume": drr_weight,
            "loss_slices_volume": slices_weight,
            "loss_reconstruction_image": reconstruction_weight,
            "loss_reconstruction_volume": reconstruction_weight,
            "loss_reconstruction_drr": reconstruction_weight,
        }

    def forward(
        self,
        student: Logits,
        teacher: Logits,
        batch: Batch,
        average: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> dict[str, Tensor]:
        """Compute every term, named by ``loss``, and move the center.

        Volumes without a radiograph have no part in the means of the terms with one; where no volume of any
        process has one, these terms are absent.

        Parameters
        ----------
        student, teacher : mapping of str to Tensor
            As `PlusStudent` and `PlusTeacher` give them.
        batch : Batch
            What they saw.
        average : callable
            Mean of a tensor over all processes.

        Returns
        -------
        dict of str to Tensor
            "loss", the weighted sum, and the terms without their weights.
        """
        ((kind, logits),) = teacher.items()
        targets = logits.detach().float()
        terms = {f"loss_{kind}_{kind}": self.term(student[kind].float(), targets)}
        if kind == "volume":
            terms["loss_slices_volume"] = self.term(student["slices"].float(), targets)
        expected = batch.views if kind == "image" else to_unit_range(batch.views)
        terms[f"loss_reconstruction_{kind}"] = _distance(student[f"reconstruction_{kind}"], expected)
        if kind == "volume":
            terms |= self._drr_terms(student, targets, batch, average)
        self.move_center(targets.mean(dim=0, keepdim=True), average)
        weighted = [self.weights.get(name, 1.0) * term for name, term in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms}

    def _drr_terms(
        self, student: Logits, targets: Tensor, batch: Batch, average: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Terms of radiographs: means over all that the processes have, which may be unevenly many."""
        here = torch.tensor(float(len(batch.shown)), device=targets.device)
        mean = float(average(here))
        if mean == 0:
            return {}
        names = ("loss_drr_volume", "loss_reconstruction_drr")
        if batch.drr is None:
            return dict.fromkeys(names, targets.new_zeros(()))
        of_shown = torch.cat([of_view[batch.shown] for of_view in targets.chunk(2)])
        found = (
            self.term(student["drr"].float(), of_shown),
            _distance(student["reconstruction_drr"], batch.drr),
        )
        scale = here / mean * batch.drr_scale
        return {name: term * scale for name, term in zip(names, found, strict=True)}


def to_unit_range(volumes: Tensor) -> Tensor:
    """Scale each volume (B, 1, depth, height, width) to [0, 1] by its own minimum and maximum."""
    axes = tuple(range(1, volumes.ndim))
    low, high = volumes.amin(axes, keepdim=True), volumes.amax(axes, keepdim=True)
    return (volumes - low) / (high - low).clamp(min=1e-6)


def _distance(reconstruction: Tensor, expected: Tensor) -> Tensor:
    """Mean squared distance of a reconstruction, given as logits, from an image in [0, 1]."""
    return F.mse_loss(reconstruction.float().sigmoid(), expected.float())
