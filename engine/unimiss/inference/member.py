"""One trained network, with what its checkpoint says of preparing images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from unimiss.data.preprocessing import Preprocessing
from unimiss.devices import best_device, resolve_precision
from unimiss.errors import InputError
from unimiss.inference.classes import class_probabilities
from unimiss.inference.crops import ten_crops
from unimiss.inference.windows import starts_of, window_slabs
from unimiss.io import Image
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Description

Done = Callable[[int], None]
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
        (self._patch,) = saved.description.native.values()
        self._precision = resolve_precision("auto")
        self._device = best_device()
        self._network = saved.network(network(saved.description) if network else None).to(self._device)

    def prepare(self, image: Image) -> Tensor:
        """Input of the network (C, *grid), on its device."""
        return torch.from_numpy(self.preprocessing.prepare(image)).to(self._device)

    def windows(self, image: Image) -> int:
        """Count the windows that an image is seen through."""
        return len(starts_of(self.preprocessing.grid(image), self._patch))

    def score(self, prepared: Tensor, done: Done | None, *, mirror: bool) -> Iterator[Tensor]:
        """Scores of a prepared image, slab by slab as `window_slabs`; with `mirror` the mean of two views."""
        plain = window_slabs(self._network, prepared, self._patch, self._precision, done)
        if not mirror:
            yield from plain
            return
        other = window_slabs(self._network, prepared.flip(-1), self._patch, self._precision, done)
        for one, mirrored in zip(plain, other, strict=True):
            yield (one + mirrored.flip(-1)) / 2

    def classify(self, image: Image, *, mirror: bool, ten_crop: bool) -> Tensor:
        """Probabilities (classes,), the mean over the views of an image."""
        if ten_crop:
            views = torch.from_numpy(ten_crops(self.preprocessing, image)).to(self._device)
        else:
            prepared = self.prepare(image)[None]
            views = torch.cat([prepared, prepared.flip(-1)]) if mirror else prepared
        overlapping = self.description.overlapping
        return class_probabilities(self._network, views, self._precision, overlapping=overlapping).mean(dim=0)
