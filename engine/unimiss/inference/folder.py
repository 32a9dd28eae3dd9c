"""Masks of files, each under its input's own name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unimiss.data.cases import case_name
from unimiss.errors import InputError
from unimiss.inference.cases import Case, find_cases, make_folder, predict_each
from unimiss.inference.predictor import Predictor
from unimiss.io import Image, dicom, is_dicom, suffix_of, write
from unimiss.runs import atomic

_FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".dcm")
_OFFERED = "nii.gz, nii, nrrd, mha, png, dicom-seg"  # by the command's option
_FOLDER = re.compile(r"[^\W_][\w ()+,=@-]*(?<! )")  # names of classes that are folders on any system
_WRITTEN_AS = dict.fromkeys((".jpg", ".jpeg", ".gif", ".tif", ".tiff"), ".png")  # JPEG would lose labels


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: Path,
    *,
    suffix: str | None = None,
    probabilities: bool = False,
    hide: bool = False,
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
    hide : bool
        Leave names of DICOM files and folders, which may be the patient's, out of sentences about cases.
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
        No input can be used, two would get the same mask, a file would replace an input, the folder holds
        masks of other classes, the format is unknown, or a class cannot be a folder's name.
    JobError
        Some inputs could not be segmented, or a mask could not be written, which ends the work.
    """
    if suffix is not None and suffix not in _FORMATS:
        raise InputError(f"masks cannot be written as {suffix.lstrip('.')}; use one of {_OFFERED}")
    if suffix == ".png" and predictor.preprocessing.dimension == 3:
        raise InputError("a PNG holds one flat picture; volumes need nii.gz, nrrd or mha")
    cases = find_cases(inputs, predictor.preprocessing.files, warn)
    if suffix == ".dcm" and not any(is_dicom(case[0]) for case in cases):
        raise InputError(
            f"{cases[0][0]} is no DICOM image, and a DICOM segmentation refers to one; use another --format"
        )
    targets = [output / f"{case_name(case)}{suffix or _own(case[0])}" for case in cases]
    masks = [_files(target, predictor) for target in targets]
    shares = [output / f"{case_name(case)}_probabilities.nii.gz" for case in cases]
    files = [[*own, share] if probabilities else own for own, share in zip(masks, shares, strict=True)]
    _refuse_collisions(cases, files, hide)
    _claim(output, predictor.labels)
    written = []

    def work(i: int, image: Image, report: Callable[[float], None]) -> None:
        folder = next((file for file in files[i] if file.is_dir()), None)
        if folder is not None:
            raise InputError(f"{folder} is a folder in the place of a mask; choose another --output")
        if suffix == ".dcm":
            try:
                dicom.require_source(image)
            except InputError as error:
                raise InputError(f"{cases[i][0]}: {error}") from error
        mask, scores = predictor.segment(image, report, probabilities=probabilities)
        if masks[i] == [targets[i]]:
            write(mask, targets[i])
        else:
            _write_apart(mask, masks[i])
        if scores is not None:
            write(scores, shares[i])
        written.extend(masks[i])

    predict_each(cases, work, done="segmented", hide=hide, progress=progress, warn=warn)
    return written


def _claim(output: Path, labels: Mapping[int, str]) -> None:
    """Make the folder, with ``labels.json``; masks of other classes in it would get wrong names."""
    make_folder(output, "masks need")
    file, names = output / "labels.json", {str(value): name for value, name in labels.items()}
    if file.is_file() and any(suffix_of(path) for path in output.rglob("*")):
        try:
            there = list(json.loads(file.read_text(encoding="utf-8")).items())
        except (OSError, ValueError, AttributeError):
            there = []
        if there != list(names.items()):
            raise InputError(
                f"{output} holds masks of other classes, those of {file}; choose another --output"
            )
    atomic.write_json(file, names)


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


def _refuse_collisions(cases: Sequence[Case], files: Sequence[Sequence[Path]], hide: bool) -> None:
    inputs = {image.resolve(): image for case in cases for image in case}
    first: dict[Path, Path] = {}

    def shown(image: Path) -> str:
        return "a DICOM image" if hide and is_dicom(image) else str(image)

    for image, target in [(case[0], file) for case, own in zip(cases, files, strict=True) for file in own]:
        if target in first:
            raise InputError(
                f"{shown(first[target])} and {shown(image)} would both be written to {target}; "
                "predict them apart"
            )
        if target.resolve() in inputs:
            replaced = inputs[target.resolve()]
            raise InputError(
                f"the mask of {shown(image)} would replace {shown(replaced)}; choose another --output"
            )
        first[target] = image
