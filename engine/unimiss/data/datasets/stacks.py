"""DICOM series beside folders of pictures, one for each slice (CHAOS)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from unimiss.data.cases import Case
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.layout import masked, visible
from unimiss.data.datasets.problems import Problem
from unimiss.io import dicom, files_of, is_dicom

_MASKS = ("ground", "ground_truth", "groundtruth", "gt", "labels", "label", "masks", "mask")


def read_stacks(folder: Path) -> Dataset | None:
    """Read series beside a folder of pictures called ``Ground``, anywhere below a folder; None where none is.

    The folder beside it holds a series, or folders of one series each (``DICOM_anon/InPhase``,
    ``DICOM_anon/OutPhase``), which all have the masks for theirs. The patient is the outermost folder that
    tells cases apart (``1/T1DUAL``, ``1/T2SPIR``): headers without names may all hold the same one.
    """
    found = list(_found(folder))
    if not found:
        return None
    above = Path(os.path.commonpath([masks.parent for masks, _ in found]))
    cases = [
        Case((series,), (masks,), patient=(*masks.parent.relative_to(above).parts, above.name)[0])
        for masks, beside in found
        for series in beside
    ]
    return masked(folder.resolve().name, cases, _modalities(cases))


def _found(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Folders of pictures, each with the series beside it."""
    for place, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        masks = next((Path(place, name) for name in names if name.lower() in _MASKS), None)
        if masks is None or is_dicom(masks) or files_of(masks) == (masks,):
            continue
        others = [Path(place, name) for name in names if name != masks.name]
        series = [
            one for other in others for one in (other, *visible(other)) if one.is_dir() and is_dicom(one)
        ]
        if series:
            yield masks, series


def _modalities(cases: list[Case]) -> list[Problem]:
    """Masks of CT and of MR are written with other values, and their images are scaled in other ways."""
    first: dict[str, Case] = {}
    for case in cases:
        identity = dicom.identity_of(case.image)
        if identity is not None and identity.modality:
            first.setdefault(identity.modality, case)
    if len(first) < 2:
        return []
    places = " and ".join(f"{kind} ({case.image})" for kind, case in sorted(first.items()))
    return [Problem("entries", f"{places} are in one data set; name the folder of one of them")]
