"""Labelled data sets as people have them; `read_dataset` is the door, whatever the layout."""

from unimiss.data.datasets.checks import check_dataset, inspect_dataset
from unimiss.data.datasets.dataset import Dataset, Kind
from unimiss.data.datasets.labels import UNKNOWN
from unimiss.data.datasets.masks import mask_values, read_mask
from unimiss.data.datasets.reading import open_dataset, read_dataset

__all__ = [
    "UNKNOWN",
    "Dataset",
    "Kind",
    "check_dataset",
    "inspect_dataset",
    "mask_values",
    "open_dataset",
    "read_dataset",
    "read_mask",
]
