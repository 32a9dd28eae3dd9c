"""One trained network, with what its checkpoint says of preparing images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from unimiss.data.preprocessing import Preprocessing
from unimiss.devices import best_device, resolve_precision
from unimiss.errors import InputError
from unimiss.inference.classes import class_probabilities
from unimiss.inference.crops import ten_crops
from unimiss.io import Image
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Description

MakeNetwork = Callable[[Description], nn.Module]


class Member:
    """A fine-tuned model, the only one of a `Predictor` or one of several.

    Parameters
    ----------
    model : path
        A run folder or a checkpoint.
    network : callable, optional
        Makes the network that it was trained with, where that is not MiT.

    Attributes
    ----------
    name : path
        As it was given.
    description : Description
        What the checkpoint says of itself.
    preprocessing : Preprocessing
        What is done to every image.
    patch : tuple of int
        Size of the windows that the network sees.
    precision : str
        As Lightning Fabric names it.
    device : device
        Where the network is.

    Raises
    ------
    InputError
        There is no such model, or it does neither task.
    """

    def __init__(self, model: Path | str, network: MakeNetwork | None = None) -> None:
        saved = checkpoint.load(model)
        self.name = model
        self.description: Description = saved.description
        kind, preprocessing = saved.description.kind, saved.description.preprocessing
        if kind == "backbone" or preprocessing is None:
            trained = kind != "backbone"
            lacks = "does not say how to prepare images" if trained else "neither segments nor classifies"
            raise InputError(
                f"{model} is a {kind} model that {lacks}; fine-tune it first, then predict with the result"
            )
        self.preprocessing: Preprocessing = preprocessing
        (self.patch,) = saved.description.native.values()
        self.precision = resolve_precision("auto")
        self.device = best_device()
        self._network = saved.network(network(saved.description) if network else None).to(self.device)

    def score(self, views: Tensor) -> Tensor:
        """Scores (B, classes, *patch), float32, of windows (B, C, *patch); the caller sets the precision."""
        scores: Tensor = self._network(views).float()
        return scores

    def classify(self, image: Image, *, mirror: bool, ten_crop: bool) -> Tensor:
        """Probabilities (classes,), the mean over the views of an image."""
        if ten_crop:
            views = torch.from_numpy(ten_crops(self.preprocessing, image)).to(self.device)
        else:
            prepared = torch.from_numpy(self.preprocessing.prepare(image))[None].to(self.device)
            views = torch.cat([prepared, prepared.flip(-1)]) if mirror else prepared
        overlapping = self.description.overlapping
        return class_probabilities(self._network, views, self.precision, overlapping=overlapping).mean(dim=0)
