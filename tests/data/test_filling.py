"""Many images into the cache by two processes: as one would do it, stopped, gone on with, and killed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image as Pillow

from unimiss.data import filling
from unimiss.data.cache import Cache
from unimiss.data.datasets import read_dataset
from unimiss.data.filling import Job, fill
from unimiss.errors import InputError, JobError, Stopped
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.prepare import prepare_cases
from unimiss.pretraining import prepare

COUNT = 18


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> list[Job]:
    """Radiographs, of which the sixth is damaged and the ninth missing."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for n in range(COUNT):
        picture = rng.integers(0, 255, (600, 32 + n), dtype=np.uint8)
        Pillow.fromarray(picture).save(folder / f"{n:02d}.png")
    (folder / "06.png").write_bytes((folder / "06.png").read_bytes()[:500])
    (folder / "09.png").unlink()
    paths = [folder / f"{n:02d}.png" for n in range(COUNT)]
    return [Job((path,), partial(prepare._prepare, path, None, (), prepare.Frame())) for path in paths]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def silent(share: float) -> None:
    pass


def stored(cache: Cache) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.iterdir()}


def test_two_processes_store_what_one_does_in_the_order_of_the_jobs(jobs, cache, tmp_path):
    shares: list[float] = []
    single = Cache(tmp_path / "single")
    one, two = fill(single, jobs, "r", silent, 1), fill(cache, jobs, "r", shares.append, 2)
    assert list(map(str, one)) == list(map(str, two))
    assert [n for n, result in enumerate(two) if isinstance(result, InputError)] == [6, 9]
    for key in (result for result in two if isinstance(result, str)):
        np.testing.assert_array_equal(cache.open(key, "image")[:], single.open(key, "image")[:])
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_is_in_the_cache_starts_no_process(jobs, cache, monkeypatch):
    fill(cache, jobs, "r", silent, 1)
    before = stored(cache)
    monkeypatch.setattr(filling, "_MOST_PROCESSES", 2)
    monkeypatch.setattr(filling, "_FEWEST", 2)  # one damaged image is not in the cache
    monkeypatch.setattr(filling, "outcomes", lambda *_: pytest.fail("a process was asked for"))
    fill(cache, jobs, "r", silent)
    assert stored(cache) == before


@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_it_ends_at_once_and_goes_on_where_it_was(jobs, cache, processes):
    def stop_in_the_middle(share: float) -> None:
        if share > 0.4:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        fill(cache, jobs, "r", stop_in_the_middle, processes)
    assert not [c for c in psutil.Process().children() if "unimiss.data.workers" in c.cmdline()]
    before = {name: time for name, time in stored(cache).items() if not name.startswith(".")}
    assert 5 <= len(before) < COUNT - 2
    fill(cache, jobs, "r", silent, processes)
    after = stored(cache)
    assert len(after) == COUNT - 2
    assert before.items() <= after.items()


def test_an_image_that_kills_its_process_is_named_and_the_others_are_there(jobs, cache):
    deadly = Job(jobs[4].files, partial(os._exit, 3))
    results = fill(cache, [*jobs[:4], deadly, *jobs[10:]], "r", silent, 2)
    assert str(results[4]).startswith(f"{jobs[4].files[0]}: it ended the process that prepared it")
    assert sum(isinstance(result, str) for result in results) == 4 + COUNT - 10


@pytest.mark.parametrize("processes", [1, 2])
def test_a_cache_that_cannot_be_written_ends_the_work_with_a_sentence(jobs, tmp_path, processes):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="could not be written"):
        fill(Cache(tmp_path / "file"), jobs, "r", silent, processes)


def test_labelled_cases_are_prepared_by_several_processes_too(torsos, tmp_path, monkeypatch):
    dataset = read_dataset(torsos)
    settings = {"dataset": torsos, "spacing": (12.0, 9.0, 9.0), "patch": (16, 32, 32)}
    config = FinetuneConfig.build(settings)
    found = {}
    for processes in (1, 2):
        monkeypatch.setattr(filling, "_worth_while", lambda cases, n=processes: n)
        cache = Cache(tmp_path / str(processes))
        cases, _ = prepare_cases(dataset.cases, config, dataset, cache, silent, pytest.fail)
        found[processes] = [cache.open(case.key, name)[:] for case in cases for name in ("image", "label")]
    assert len(found[2]) == 2 * len(dataset.cases)
    for one, two in zip(found[1], found[2], strict=True):
        np.testing.assert_array_equal(one, two)


def test_processes_are_for_many_cases_and_bounded_by_cores_and_memory(monkeypatch):
    def machine(cores: int, gib: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        memory = psutil.virtual_memory()._replace(available=gib * 2**30)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    machine(cores=64, gib=500)
    assert [filling._worth_while(cases) for cases in (0, 15, 16, 5000)] == [1, 1, 8, 8]
    machine(cores=4, gib=500)
    assert filling._worth_while(5000) == 3
    machine(cores=1, gib=500)
    assert filling._worth_while(5000) == 1
    machine(cores=64, gib=7)
    assert filling._worth_while(5000) == 3
