"""Models that look at the same windows of an image: beside their weights they need what one of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from unimiss.data.preprocessing import Preprocessing
from unimiss.inference.member import Member
from unimiss.inference.resizing import resized
from unimiss.inference.windows import starts_of, window_slabs
from unimiss.io import Image


class Group:
    """Members that see an image on one grid, through windows of one size; one of the list of `grouped`.

    Parameters
    ----------
    members : sequence of Member
        For segmentation.
    mirror : bool
        Look at the windows of the mirror image too.
    probable : callable, optional
        Turns scores (B, classes, *patch) into probabilities, whose mean counts; without it there is only one
        member, and its scores count.
    """

    def __init__(
        self, members: Sequence[Member], *, mirror: bool, probable: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._members, self._mirror = members, mirror
        self._probable = probable or (lambda scores: scores)
        self._ways: list[Preprocessing] = []  # intensities that were fitted may differ
        for member in members:
            if member.preprocessing not in self._ways:
                self._ways.append(member.preprocessing)

    def __len__(self) -> int:
        return len(self._members)

    def windows(self, image: Image) -> int:
        """Count the windows that an image is seen through."""
        return len(starts_of(self._ways[0].grid(image), self._members[0].patch)) * (2 if self._mirror else 1)

    def scores(self, image: Image, done: Callable[[int], None]) -> Iterator[Tensor]:
        """Scores (classes, rows, *rest), or mean probabilities, on the image's grid, row after row."""
        depth = self._ways[0].grid(image)[0]
        return resized(self._slabs(image, done), depth, image.geometry.shape)

    def _slabs(self, image: Image, done: Callable[[int], None]) -> Iterator[Tensor]:
        first = self._members[0]
        prepared = [torch.from_numpy(way.prepare(image)).to(first.device) for way in self._ways]
        views = prepared[0][None] if len(prepared) == 1 else torch.stack(prepared)
        del prepared
        yield from window_slabs(self._scored, views, first.patch, first.precision, done, mirror=self._mirror)

    def _scored(self, views: Tensor) -> Tensor:
        """Scores of windows (B, ways to prepare, C, *patch)."""
        each = (
            self._probable(member.score(views[:, self._ways.index(member.preprocessing)]))
            for member in self._members
        )
        return sum(each, start=next(each)) / len(self)


def grouped(
    members: Sequence[Member], *, mirror: bool, probable: Callable[[Tensor], Tensor] | None
) -> list[Group]:
    """Put members together that can share sums; with other voxel sizes, or windows, they are apart."""
    alike: dict[object, list[Member]] = {}
    for member in members:
        prepared = member.preprocessing
        alike.setdefault((prepared.spacing, prepared.size, member.patch), []).append(member)
    return [Group(together, mirror=mirror, probable=probable) for together in alike.values()]
