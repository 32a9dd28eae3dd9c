"""One image under two names."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from unimiss.data.cases import Case, stem
from unimiss.data.datasets.problems import Problem
from unimiss.io import is_dicom

_BLOCK = 1 << 20


def duplicates(cases: Sequence[Case]) -> Iterator[Problem]:
    """Find images whose content is that of an earlier one; compressed files are compared uncompressed.

    An image that only repeats another of the same patient, with the same label, does no harm, for both are on
    one side of every split; it is "repeated". Modalities of one case that are the same are an error in its
    entry. A picture that was saved again, in another format or with
    another compression, is not found.
    """
    alike: dict[object, list[tuple[Path, Case]]] = {}
    for case in dict.fromkeys(cases):
        for path in case.images:
            alike.setdefault(_sketch(path), []).append((path, case))
    for group in alike.values():
        first: dict[object, tuple[Path, Case]] = {}
        for path, case in group if len(group) > 1 else ():
            content = _content(path)
            if content not in first:
                first[content] = (path, case)
                continue
            other, owner = first[content]
            text = f"{path} is listed twice" if path == other else f"{path} is the same image as {other}"
            if owner == case:
                again = f"{text}, of the same case; each modality needs a file of its own"
                yield Problem("entries", again)
            elif owner.patient == case.patient and _label(owner) == _label(case):
                yield Problem("repeated", f"left out: {text}, of the same patient", case)
            else:
                yield Problem("duplicates", f"{text}; the setting accept=[duplicates] keeps the first", case)


def _label(case: Case) -> object:
    return case.classes, [_content(mask) for mask in case.masks]


def _sketch(path: Path) -> object:
    """Something cheap that equal images share: a size, or what a gzip file says at its end of its content."""
    if is_dicom(path):
        return stem(path)
    if path.suffix == ".gz":
        with path.open("rb") as file:
            file.seek(-8, 2)
            return file.read()  # CRC 32 and size
    return path.stat().st_size


def _content(path: Path) -> object:
    if is_dicom(path):
        return stem(path)
    digest = hashlib.sha256()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except (OSError, EOFError, zlib.error):  # damaged, so it is like no other
        return path
    return digest.digest()
