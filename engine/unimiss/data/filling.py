"""Many cases into the cache, by several processes where there are enough of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from unimiss.data.cache import Arrays, Cache, cache_key
from unimiss.data.workers import Died, Outcomes, Work, outcomes
from unimiss.errors import InputError

_FEWEST = 16  # cases that are worth the two seconds in which a process loads torch
_MOST_PROCESSES = 8
_ROOM = 2 * 2**30  # bytes in which a CT of 512 x 512 x 500 voxels is read, converted and resampled

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Job:
    """A case to be prepared.

    Attributes
    ----------
    files : tuple of Path
        What it is made from; the first one stands for it in sentences.
    make : callable
        Gives its arrays; picklable.
    """

    files: tuple[Path, ...]
    make: Callable[[], Arrays]


def fill(
    cache: Cache, jobs: Sequence[Job], recipe: str, progress: Progress, processes: int | None = None
) -> list[str | InputError]:
    """Put every case into the cache that is not there yet.

    Parameters
    ----------
    cache : Cache
        Where prepared arrays lie.
    jobs : sequence of Job
        The cases.
    recipe : str
        What is done to the files, for `cache_key`.
    progress : callable
        Receives the finished share, 0 to 1, at least once a second or after each case. What it raises ends
        the work at once; the cases that are finished stay in the cache.
    processes : int, optional
        How many; by default as many as cores, memory and the number of cases make worth while. One means this
        process.

    Returns
    -------
    list of str or InputError
        For each job, in their order: its key in the cache, or why it cannot be used.

    Raises
    ------
    JobError
        The cache cannot be written, or no process can be started.
    """
    results: list[str | InputError] = []
    missing = []
    for place, job in enumerate(jobs):
        results.append(key := _key(job, recipe))
        if isinstance(key, str) and not cache.has(key):
            missing.append((place, partial(cache.ensure, key, job.make)))
        progress((len(results) - len(missing)) / len(jobs))
    works = [work for _, work in missing]
    count = processes or _worth_while(len(works))
    done = len(jobs) - len(works)
    with closing(_here(works) if count == 1 else outcomes(works, count)) as finished:
        for outcome in finished:
            if outcome is not None:
                place = missing[outcome[0]][0]
                results[place] = _result(jobs[place], results[place], outcome[1])
                done += 1
            progress(done / len(jobs))
    return results


def _key(job: Job, recipe: str) -> str | InputError:
    try:
        return cache_key(job.files, recipe)
    except InputError as error:
        return error


def _worth_while(cases: int) -> int:
    """Return the number of processes for so many cases; one core stays for the caller."""
    if cases < _FEWEST:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = psutil.virtual_memory().available // _ROOM
    return max(1, min(cores - 1, _MOST_PROCESSES, room))


def _here(works: Sequence[Work]) -> Outcomes:
    for place, work in enumerate(works):
        try:
            answer = work()
        except InputError as error:
            answer = error
        yield place, answer


def _result(job: Job, key: str | InputError, answer: object) -> str | InputError:
    """Return the key of a case that is in the cache now, or why it is not."""
    if isinstance(answer, Died):
        return InputError(
            f"{job.files[0]}: it ended the process that prepared it ({answer}); crop it or leave it out"
        )
    if isinstance(answer, Exception) and not isinstance(answer, InputError):
        raise answer
    return answer if isinstance(answer, InputError) else key
