"""A trained model applied to images, exactly as it was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.data.datasets import Kind
from unimiss.devices import best_device, resolve_precision
from unimiss.errors import InputError, JobError
from unimiss.inference.classes import class_probabilities
from unimiss.inference.windows import window_scores
from unimiss.io import Image
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Description

Progress = Callable[[float], None]
_DECISION = 0.5


class Predictor:
    """A model for segmentation or classification, ready to use.

    Parameters
    ----------
    model : path
        A run folder or a checkpoint.
    mirror : bool
        Look at every image mirrored from left to right too, and take the mean: twice the time. Not for
        classes that tell left from right.
    network : callable, optional
        Makes the network that the model was trained with, where that is not MiT; see `finetune`.

    Attributes
    ----------
    task : "segmentation" or "classification"
        Whether it can `predict`, or `classify`.
    labels : dict of int to str
        Values and names of its classes.
    overlapping : bool
        Whether an image may have several classes or none.

    Raises
    ------
    InputError
        There is no such model, or it does neither.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        mirror: bool = False,
        network: Callable[[Description], nn.Module] | None = None,
    ) -> None:
        saved = checkpoint.load(model)
        description = saved.description
        if description.kind == "backbone" or description.preprocessing is None:
            trained = description.kind != "backbone"
            lacks = "does not say how to prepare images" if trained else "neither segments nor classifies"
            raise InputError(
                f"{model} is a {description.kind} model that {lacks}; "
                "fine-tune it first, then predict with the result"
            )
        self._name = model
        self._mirror = mirror
        self.task: Kind = description.kind
        self.labels = description.labels
        self.overlapping = description.overlapping
        self.preprocessing = description.preprocessing
        (self._patch,) = description.native.values()
        self._precision = resolve_precision("auto")
        self._device = best_device()
        self._network = saved.network(network(description) if network else None).to(self._device)

    def predict(self, image: Image, progress: Progress | None = None) -> Image:
        """Segment an image.

        Parameters
        ----------
        image : Image
            A volume or a radiograph, whichever the model was trained on.
        progress : callable, optional
            Receives the finished share, 0 to 1.

        Returns
        -------
        Image
            Label values, uint8 or uint16 (1, *shape), on the image's own grid, with their names.
        """
        return self._mask(image, self._scores(image, progress))

    def probabilities(self, image: Image, progress: Progress | None = None) -> Image:
        """Class probabilities of an image, float32 (classes, *shape), on the image's own grid."""
        return self._probabilities(image, self._scores(image, progress))

    def segment(
        self, image: Image, progress: Progress | None = None, *, probabilities: bool
    ) -> tuple[Image, Image | None]:
        """Return the mask of `predict` and, if asked for, the `probabilities`, from one pass."""
        scores = self._scores(image, progress)
        return self._mask(image, scores), self._probabilities(image, scores) if probabilities else None

    def classify(self, image: Image) -> dict[str, float]:
        """Return the probability, 0 to 1, of each class by its name.

        They sum to 1 unless the classes are `overlapping`.
        """
        self._require("classification", "classify")
        prepared = self._prepared(image)[None]
        views = torch.cat([prepared, prepared.flip(-1)]) if self._mirror else prepared
        with _naming_memory(prepared.shape[2:]):
            found = class_probabilities(self._network, views, self._precision, overlapping=self.overlapping)
        return dict(zip(self.labels.values(), found.mean(dim=0).tolist(), strict=True))

    def decide(self, found: Mapping[str, float]) -> list[str]:
        """Name the classes that an image has by their probabilities: the likeliest, or all from 1/2 on."""
        if self.overlapping:
            return [name for name, probability in found.items() if probability >= _DECISION]
        return [max(found, key=lambda name: found[name])]

    def _mask(self, image: Image, scores: Tensor) -> Image:
        best: Tensor | None = None
        winner = torch.zeros(image.geometry.shape, dtype=torch.uint8, device=scores.device)
        for index, score in enumerate(scores):  # one class at a time: a few volumes in memory, not all
            full = _resize(score, image.geometry.shape)
            if best is None:
                best = full
                continue
            better = full > best
            best = torch.where(better, full, best)
            winner.masked_fill_(better, index)
        values = np.array(list(self.labels), dtype=np.uint8 if max(self.labels) < 256 else np.uint16)
        return image.with_array(values[winner.cpu().numpy()][None], self.labels)

    def _probabilities(self, image: Image, scores: Tensor) -> Image:
        full = torch.stack([_resize(score, image.geometry.shape) for score in scores.softmax(dim=0)])
        return image.with_array(full.cpu().numpy(), {})

    def _scores(self, image: Image, progress: Progress | None) -> Tensor:
        self._require("segmentation", "segment")
        prepared = self._prepared(image)
        passes = 2 if self._mirror else 1

        def score(view: Tensor, done: int) -> Tensor:
            report = None if progress is None else lambda share: progress((done + share) / passes)
            return window_scores(self._network, view, self._patch, self._precision, report)

        with _naming_memory(prepared.shape[1:]):
            scores = score(prepared, 0)
            return (scores + score(prepared.flip(-1), 1).flip(-1)) / 2 if self._mirror else scores

    def _require(self, task: Kind, verb: str) -> None:
        if self.task != task:
            raise InputError(f"{self._name} is a {self.task} model; it does not {verb}")

    def _prepared(self, image: Image) -> Tensor:
        return torch.from_numpy(self.preprocessing.prepare(image)).to(self._device)


@contextmanager
def _naming_memory(shape: Sequence[int]) -> Iterator[None]:
    """Turn a lack of memory into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # a CPU reports a lack of memory as RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise JobError(f"an image of {tuple(shape)} voxels needs more memory than there is") from error


def _resize(score: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One class's scores on another grid over the same extent, linearly."""
    if tuple(score.shape) == shape:
        return score
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return F.interpolate(score[None, None], size=shape, mode=mode, align_corners=False)[0, 0]
