"""What a labelled data set is, whichever way its files lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unimiss.data.cases import Case
from unimiss.data.datasets.problems import Problem

Kind = Literal["segmentation", "classification"]


@dataclass(frozen=True)
class Dataset:
    """Labelled cases.

    Attributes
    ----------
    name : str
        Of its folder or file.
    kind : "segmentation" or "classification"
        Whether its cases have masks or classes.
    cases : tuple of Case
        Each with at least one image; with masks, or with names of classes out of `labels`.
    labels : dict of int to str
        Segmentation: the label values that a model gives and their names, 0 background first; of overlapping
        classes the channels of its masks, from 1. Empty where no file says them, until the data set is
        checked. Classification: 0, 1, … and the names of the classes.
    overlapping : bool
        Whether a voxel, or a case, may have several classes or none; else it has exactly one.
    channels : tuple of str
        Names of the images' channels ("CT", "PET"), where a file says them.
    values : dict of int to tuple of int
        What makes each label in the mask files: their values or, where each class has a file or a channel of
        its own, the places of these, counted from 1. A label that is not named here is its own value.
    unknown : tuple of int
        What marks, as in `values`, voxels that nobody labelled: nothing is learned and nothing scored there.
    problems : tuple of Problem
        What reading found wrong; `check_dataset` adds what the files hold, and judges.
    """

    name: str
    kind: Kind
    cases: tuple[Case, ...]
    labels: dict[int, str] = field(default_factory=dict)
    overlapping: bool = False
    channels: tuple[str, ...] = ()
    values: dict[int, tuple[int, ...]] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()
