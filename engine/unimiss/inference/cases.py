"""Predicting one case after another: one bad case never stops the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from unimiss.data.cases import case_name, group_channels, read_image, search
from unimiss.errors import InputError, JobError
from unimiss.io import Image, is_dicom

Case = tuple[Path, ...]
Work = Callable[[int, Image, Callable[[float], None]], None]


def find_cases(inputs: Sequence[Path], files: int, warn: Callable[[str], None]) -> list[Case]:
    """Collect the cases of files and folders, each with all of its `files`; tell `warn` of masks among them.

    What is no complete case is refused when its turn comes: a gap in its numbers stays one.
    """
    found = search(inputs)
    if found.masks:
        first = "" if is_dicom(found.masks[0]) else f", first {found.masks[0]}"
        warn(f"{len(found.masks)} files are left out as masks by their names{first}")
    if files == 1:
        return [(image,) for image in found.images]
    by_case = group_channels(found.images).values()
    return [tuple(channels[n] for n in sorted(channels)) for channels in by_case]


def make_folder(output: Path, what: str) -> None:
    """Make the folder for the results, before the work: a file in its place is bad input."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{output} is a file, or lies below one; {what} a folder") from error
    except OSError as error:
        raise JobError(f"{output} could not be made: {error.strerror or error}") from error


def predict_each(
    cases: Sequence[Case],
    work: Work,
    *,
    done: str,
    hide: bool,
    progress: Callable[[float, str], None],
    warn: Callable[[str], None],
) -> None:
    """Read every case and work on it; what cannot be used is named, and left out.

    Parameters
    ----------
    cases : sequence of tuple of Path
        Files of each case.
    work : callable
        Receives the number of a case, from 0, and its image, and keeps the result; its third argument
        receives the finished share of it. Its InputErrors are about this case; any other error, such as a
        full disk, ends the work.
    done : str
        What `work` does, in the past tense.
    hide : bool
        Leave names of DICOM files and folders, which may be the patient's, out of sentences.
    progress : callable
        Receives the finished share of all, 0 to 1, and the current case's name.
    warn : callable
        Receives a sentence for each case that is left out.

    Raises
    ------
    InputError
        No case can be used.
    JobError
        Some could not, once all others are done.
    """
    problems = []
    for i, case in enumerate(cases):

        def report(share: float, before: int = i, name: str = _called(case, i)) -> None:
            progress((before + share) / len(cases), name)

        try:
            _refuse_gap(case)
            work(i, read_image(case), report)
        except InputError as error:
            problems.append(_hidden(str(error), case, i) if hide else str(error))
            if len(cases) > 1:
                warn(f"left out: {problems[-1]}")
        else:
            report(1.0)
    finished = len(cases) - len(problems)
    if not finished:
        raise InputError(problems[0] if len(problems) == 1 else f"no input could be {done}; {problems[0]}")
    if problems:
        raise JobError(f"{finished} of {len(cases)} inputs were {done}; {len(problems)} were left out")


def _refuse_gap(case: Case) -> None:
    """Refuse ``a_0000`` and ``a_0002`` as two channels: one of them would be taken for ``a_0001``."""
    if len(case) > 1:
        (by_channel,) = group_channels(case).values()
        if sorted(by_channel) != list(range(len(case))):
            numbers = ", ".join(map(str, sorted(by_channel)))
            raise InputError(f"{case[0]} and the files beside it are channels {numbers}; one is missing")


def _called(case: Case, number: int) -> str:
    """File name; of DICOM a name without the patient's, and of a file that is damaged its number."""
    if not is_dicom(case[0]):
        return case_name(case) if len(case) > 1 else case[0].name
    name = case_name(case)
    return f"DICOM image {number + 1}" if case[0].name.startswith(name) else name


def _hidden(text: str, case: Case, number: int) -> str:
    """Sentence about a DICOM image without names of its files and folders; short numbers may stay."""
    file = case[0]
    if not is_dicom(file):
        return text
    folder = file if file.is_dir() else file.parent
    for path in (file, folder):
        text = text.replace(str(path), _called(case, number))
    names = sorted((path.name for path in folder.glob("*")), key=len, reverse=True)
    for name in names:
        if len(name) > 5 or not name.isdigit():
            text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", "a file", text)
    return text
