"""A trained model applied to images, exactly as it was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unimiss.data.datasets import Kind
from unimiss.errors import InputError
from unimiss.inference.components import keep_largest
from unimiss.inference.crops import flat_size
from unimiss.inference.ensemble import load_members
from unimiss.inference.group import grouped
from unimiss.inference.member import MakeNetwork
from unimiss.io import Image

Progress = Callable[[float], None]
_DECISION = 0.5


class Predictor:
    """A model for segmentation or classification, or several that decide together, ready to use.

    Parameters
    ----------
    model : path
        A run folder or a checkpoint; or a folder that holds several run folders, such as those of all folds,
        whose mean probabilities count then.
    mirror : bool
        Look at every image mirrored from left to right too, and take the mean: twice the time. Not for
        classes that tell left from right; ten crops hold mirror images already.
    ten_crop : bool
        Classification of flat images: take the mean over `ten_crops` instead of the whole image.
    largest_component : bool
        Segmentation: keep only the largest connected component of each class.
    network : callable, optional
        Makes the network that the model was trained with, where that is not MiT; see `finetune`.

    Attributes
    ----------
    task : "segmentation" or "classification"
        Whether it can `predict`, or `classify`.
    labels : dict of int to str
        Values and names of its classes.
    overlapping : bool
        Whether an image, or a voxel of it, may have several classes or none.
    preprocessing : Preprocessing
        What is done to every image; of several models the first one's, for they may differ in intensities.

    Raises
    ------
    InputError
        There is no such model, it does neither, it does not do what an option is about, or several do not
        fit together.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        mirror: bool = False,
        ten_crop: bool = False,
        largest_component: bool = False,
        network: MakeNetwork | None = None,
    ) -> None:
        self._members = load_members(model, network)
        self._name = model
        self._mirror, self._ten_crop, self._largest = mirror, ten_crop, largest_component
        description = self._members[0].description
        self.task: Kind = "segmentation" if description.kind == "segmentation" else "classification"
        self.labels = description.labels
        self.overlapping = description.overlapping
        self.preprocessing = self._members[0].preprocessing
        probable = self._probable if len(self._members) > 1 else None
        self._groups = grouped(self._members, mirror=mirror, probable=probable)
        if ten_crop:
            self._require("classification", "classify, and ten crops are for that")
            flat_size(self.preprocessing)
        if largest_component:
            self._require("segmentation", "segment, and components are for that")

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
            Label values, uint8 or uint16 (1, *shape), on the image's own grid, with their names. Overlapping
            classes have a channel each, in the order of `labels`: 0 or 1, uint8 (classes, *shape).
        """
        return self.segment(image, progress, probabilities=False)[0]

    def probabilities(self, image: Image, progress: Progress | None = None) -> Image:
        """Class probabilities of an image, float32 (classes, *shape), on the image's own grid.

        The background has a channel, the first, unless the classes are `overlapping`.
        """
        found = self.segment(image, progress, probabilities=True)[1]
        assert found is not None
        return found

    def segment(
        self, image: Image, progress: Progress | None = None, *, probabilities: bool
    ) -> tuple[Image, Image | None]:
        """Return the mask of `predict` and, if asked for, the `probabilities`, from one pass."""
        self._require("segmentation", "segment")
        shape = image.geometry.shape
        kind = np.uint8 if max(self.labels) < 256 else np.uint16
        values = np.array([0, 1] if self.overlapping else list(self.labels), dtype=kind)
        classes = self._members[0].description.classes
        mask = np.empty((classes if self.overlapping else 1, *shape), dtype=kind)
        shares = np.empty((classes, *shape), dtype=np.float32) if probabilities else None
        with _naming_memory(shape):
            first = 0
            for scores in self._scores(image, progress):
                rows = slice(first, first + scores.shape[1])
                mask[:, rows] = values[self._decided(scores).cpu().numpy()]
                if shares is not None:
                    shares[:, rows] = self._shares(scores).cpu().numpy()
                first = rows.stop
        if self._largest:
            for channel in mask:
                keep_largest(channel)
        found = image.with_array(mask, self.labels)
        return found, None if shares is None else image.with_array(shares, {})

    def classify(self, image: Image) -> dict[str, float]:
        """Return the probability, 0 to 1, of each class by its name.

        They sum to 1 unless the classes are `overlapping`.
        """
        self._require("classification", "classify")
        with _naming_memory(image.geometry.shape):
            each = [
                member.classify(image, mirror=self._mirror, ten_crop=self._ten_crop)
                for member in self._members
            ]
        found = torch.stack(each).mean(dim=0)
        return dict(zip(self.labels.values(), found.tolist(), strict=True))

    def decide(self, found: Mapping[str, float]) -> list[str]:
        """Name the classes that an image has by their probabilities: the likeliest, or all from 1/2 on."""
        if self.overlapping:
            return [name for name, probability in found.items() if probability >= _DECISION]
        return [max(found, key=lambda name: found[name])]

    def _scores(self, image: Image, progress: Progress | None) -> Iterator[Tensor]:
        """Scores (classes, rows, *rest) on the image's grid, row after row: logits of one model.

        Of several models the mean of their probabilities.
        """
        total, finished = sum(group.windows(image) for group in self._groups), 0

        def done(windows: int) -> None:
            nonlocal finished
            finished += windows
            if progress is not None:
                progress(finished / total)

        for rows in zip(*(group.scores(image, done) for group in self._groups), strict=True):
            if len(rows) == 1:
                yield rows[0]
            else:
                each = (scores * len(group) for scores, group in zip(rows, self._groups, strict=True))
                yield sum(each, start=next(each)) / len(self._members)
        if progress is not None and finished < total:  # the last rows on a finer grid may not be needed
            progress(1.0)

    def _decided(self, scores: Tensor) -> Tensor:
        """Channels of the mask, uint8 (channels, rows, *rest), from what `_scores` gave.

        The index of the highest score; of overlapping classes 1 where the probability is 1/2 or more.
        """
        if self.overlapping:
            return (scores >= (0 if len(self._members) == 1 else _DECISION)).to(torch.uint8)
        best, winner = scores[0].clone(), torch.zeros_like(scores[:1], dtype=torch.uint8)
        for index, score in enumerate(scores[1:], start=1):
            winner[0].masked_fill_(score > best, index)
            torch.maximum(best, score, out=best)
        return winner

    def _shares(self, scores: Tensor) -> Tensor:
        """Probabilities (classes, rows, *rest) from what `_scores` gave."""
        return self._probable(scores[None])[0] if len(self._members) == 1 else scores

    def _probable(self, logits: Tensor) -> Tensor:
        """Probabilities (B, classes, *rest) from logits."""
        return logits.sigmoid() if self.overlapping else logits.softmax(dim=1)

    def _require(self, task: Kind, verb: str) -> None:
        if self.task != task:
            raise InputError(f"{self._name} is a {self.task} model; it does not {verb}")


@contextmanager
def _naming_memory(shape: Sequence[int]) -> Iterator[None]:
    """Turn a lack of memory into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # a CPU reports a lack of memory as RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise InputError(f"an image of {tuple(shape)} voxels needs more memory than there is") from error
