"""Masks of files, each under its input's own name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unimiss.data.cases import case_name
from unimiss.errors import InputError
from unimiss.inference.cases import find_cases, predict_each
from unimiss.inference.predictor import Predictor
from unimiss.io import Image, is_dicom, suffix_of, write
from unimiss.runs import atomic

_FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".dcm")
_FOLDER = re.compile(r"[^\W_][\w ()+,=@-]*(?<! )")  # names of classes that are folders on any system
_WRITTEN_AS = dict.fromkeys((".jpg", ".jpeg", ".gif", ".tif", ".tiff"), ".png")  # JPEG would lose labels


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: Path,
    *,
    suffix: str | None = None,
    probabilities: bool = False,
    progress: Callable[[float, str], None],
    warn: Callable[[str], None],
) -> list[Path]:
    """Segment files and folders into a folder.

    Parameters
    ----------
    predictor : Predictor
        The model.
    inputs : sequence of Path
        Images or folders of images; for a model of several modalities ``case_0000.nii.gz``,
        ``case_0001.nii.gz`` … are the files of one case.
    output : Path
        Folder for the masks and ``labels.json``, the names of their values or, of overlapping classes, of
        their channels. A PNG holds one class: of overlapping ones each has a folder of its name then.
    suffix : str, optional
        Format of the masks; by default each input's own, of DICOM NIfTI. ".dcm" is a DICOM segmentation,
        for DICOM alone.
    probabilities : bool
        Also write ``<name>_probabilities.nii.gz`` with a channel for each class.
    progress : callable
        Receives the finished share, 0 to 1, and the current case's name.
    warn : callable
        Receives a sentence for each case that could not be segmented, and one about masks in the folders.

    Returns
    -------
    list of Path
        The masks.

    Raises
    ------
    InputError
        No input can be used, two would get the same mask, the format is unknown, or a class cannot be a
        folder's name.
    JobError
        A mask could not be written.
    """
    if suffix is not None and suffix not in _FORMATS:
        raise InputError(f"masks cannot be written as {suffix}; use one of {', '.join(_FORMATS)}")
    if suffix == ".png" and predictor.preprocessing.dimension == 3:
        raise InputError("a PNG holds one flat picture; volumes need nii.gz, nrrd or mha")
    cases = find_cases(inputs, predictor.preprocessing.files, warn)
    other = next((case[0] for case in cases if not is_dicom(case[0])), None)
    if suffix == ".dcm" and other is not None:
        raise InputError(
            f"{other} is no DICOM image, and a DICOM segmentation refers to one; use another --format"
        )
    targets = [output / f"{case_name(case)}{suffix or _own(case[0])}" for case in cases]
    files = [_files(target, predictor) for target in targets]
    _refuse_collisions([case[0] for case in cases], files)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; masks need a folder")
    atomic.write_json(output / "labels.json", {str(v): name for v, name in predictor.labels.items()})
    written = []

    def work(image: Image, report: Callable[[float], None]) -> tuple[Image, Image | None]:
        return predictor.segment(image, report, probabilities=probabilities)

    for i, (mask, scores) in predict_each(cases, work, done="segmented", progress=progress, warn=warn):
        if files[i] == [targets[i]]:
            write(mask, targets[i])
        else:
            _write_apart(mask, files[i])
        if scores is not None:
            write(scores, output / f"{case_name(cases[i])}_probabilities.nii.gz")
        written += files[i]
    return written


def _files(target: Path, predictor: Predictor) -> list[Path]:
    """Files of a mask: one, but of overlapping classes in PNG one for each, as in ``heart/a.png``."""
    if not predictor.overlapping or suffix_of(target) != ".png":
        return [target]
    names = [name for value, name in predictor.labels.items() if value]
    wrong = next((name for name in names if not _FOLDER.fullmatch(name)), None)
    if wrong is not None or len({name.casefold() for name in names}) < len(names):
        shown = repr(wrong) if wrong is not None else " and ".join(map(repr, names))
        raise InputError(
            f"a PNG holds one class, in a folder of its name, which {shown} cannot be; use --format nii.gz"
        )
    return [target.parent / name / target.name for name in names]


def _write_apart(mask: Image, files: Sequence[Path]) -> None:
    """Write each class to its own file as 0 and 255, which viewers of pictures show as black and white."""
    for file, plane in zip(files, mask.array, strict=True):
        write(mask.with_array(plane[None] * np.uint8(255)), file)


def _own(image: Path) -> str:
    if is_dicom(image):
        return ".nii.gz"
    suffix = suffix_of(image)
    return _WRITTEN_AS.get(suffix, suffix)


def _refuse_collisions(images: Sequence[Path], files: Sequence[Sequence[Path]]) -> None:
    first: dict[Path, Path] = {}
    for image, target in [(image, file) for image, own in zip(images, files, strict=True) for file in own]:
        if target in first:
            raise InputError(
                f"{first[target]} and {image} would both be written to {target}; predict them apart"
            )
        if target.resolve() == image.resolve():
            raise InputError(f"the mask of {image} would replace it; choose another --output")
        first[target] = image
