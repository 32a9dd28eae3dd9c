"""Predicting one case after another: one bad case never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from unimiss.data.cases import case_name, group_channels, read_image, search
from unimiss.errors import InputError, JobError, Stopped, UnimissError
from unimiss.io import Image, is_dicom

Case = tuple[Path, ...]
R = TypeVar("R")


def find_cases(inputs: Sequence[Path], files: int, warn: Callable[[str], None]) -> list[Case]:
    """Collect the cases of files and folders, each with all of its `files`; tell `warn` of masks among them.

    What is no complete case is refused when its turn comes.
    """
    found = search(inputs)
    if found.masks:
        warn(f"{len(found.masks)} files are left out as masks by their names, first {found.masks[0]}")
    if files == 1:
        return [(image,) for image in found.images]
    by_case = group_channels(found.images).values()
    return [tuple(channels[n] for n in sorted(channels)) for channels in by_case]


def predict_each(
    cases: Sequence[Case],
    work: Callable[[Image, Callable[[float], None]], R],
    *,
    done: str,
    progress: Callable[[float, str], None],
    warn: Callable[[str], None],
) -> Iterator[tuple[int, R]]:
    """Read every case and work on it; what cannot be used is named, and left out.

    Parameters
    ----------
    cases : sequence of tuple of Path
        Files of each case.
    work : callable
        Turns an image into a result; its second argument receives the finished share of it.
    done : str
        What `work` does, in the past tense.
    progress : callable
        Receives the finished share of all, 0 to 1, and the current case's name.
    warn : callable
        Receives a sentence for each case that is left out.

    Yields
    ------
    int, result
        Number of a case, and what `work` made of it; errors in keeping it are the caller's.

    Raises
    ------
    InputError
        No case can be used.
    JobError
        Some could not, once all others are done.
    """
    problems = []
    for i, case in enumerate(cases):

        def report(share: float, before: int = i, name: str = _called(case)) -> None:
            progress((before + share) / len(cases), name)

        try:
            result = work(read_image(case), report)
        except Stopped:
            raise
        except UnimissError as error:  # one bad case never stops the others; a full disk does, at the caller
            problems.append(str(error))
            if len(cases) > 1:
                warn(f"left out: {error}")
            continue
        yield i, result
        report(1.0)
    finished = len(cases) - len(problems)
    if not finished:
        raise InputError(problems[0] if len(problems) == 1 else f"no input could be {done}; {problems[0]}")
    if problems:
        raise JobError(f"{finished} of {len(cases)} inputs were {done}; {len(problems)} were left out")


def _called(case: Case) -> str:
    return case_name(case) if is_dicom(case[0]) or len(case) > 1 else case[0].name
