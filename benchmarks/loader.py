"""Samples a second that one process prepares for pre-training, against decoding each sample's file.

``python benchmarks/loader.py [--data FOLDER] [--json FILE]``; the folder, by default UNIMISS_DATA, holds the
sets `deeplesion_ct` and `cxr_classification`. A sample is both views of an image. Ours are read by
`unimiss.pretraining.sampling.Views`, as the training does. All ways take turns in one run, on one thread,
with every file in memory; seconds are those of the processor, which other programs stretch least. That all
begin with the same values is checked first.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from plain import loading as plain

from unimiss.data.cache import Cache
from unimiss.data.cases import find_images
from unimiss.data.views import picture_views, volume_views
from unimiss.devices import keep_freed_memory
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.prepare import Prepared, prepare_all
from unimiss.pretraining.sampling import Views

ROUNDS = 7
SAMPLES = 66  # a round; both sets hold enough cases or go through them several times
VOLUME, PICTURES = (16, 96, 96), ((96, 96), (224, 224))
PLAIN, DECODED, OURS = "decoded each time, plain views", "decoded each time, our views", "ours"

Load = Callable[[int], object]


def of_volumes(folder: Path, cache: Cache) -> dict[str, Load]:
    """Ways to two views of the i-th CT."""
    paths, cases = prepared(folder, (1.0, 1.0, 1.0), cache)
    check(cases, cache, plain.volume)
    config = PretrainConfig(volumes=[folder], batch_3d=1, epoch_3d=1, epochs_each=1, size_3d=VOLUME)
    ours = Views(config, [], cases, cache)
    return {
        PLAIN: lambda i: plain.volume_views(plain.volume(paths[i % len(paths)]), VOLUME, seeded(i)),
        DECODED: lambda i: volume_views(plain.volume(paths[i % len(paths)]), VOLUME, seeded(i)),
        OURS: lambda i: ours[(i, 0)],
    }


def of_pictures(folder: Path, cache: Cache, size: tuple[int, int]) -> dict[str, Load]:
    """Ways to two views of the i-th radiograph."""
    paths, cases = prepared(folder, None, cache)
    check(cases[:: len(cases) // 20], cache, plain.picture)
    config = PretrainConfig(images=[folder], batch_2d=1, epoch_2d=1, epochs_each=1, size_2d=size)
    ours = Views(config, cases, [], cache)
    return {
        DECODED: lambda i: picture_views(plain.picture(paths[i % len(paths)]), size, seeded(i)),
        OURS: lambda i: ours[(i, 0)],
    }


def seeded(i: int) -> np.random.Generator:
    """Source of a sample's draws."""
    return np.random.default_rng((0, i, 0))


def prepared(
    folder: Path, spacing: tuple[float, float, float] | None, cache: Cache
) -> tuple[list[Path], list[Prepared]]:
    """Images of a folder, and the same in the cache."""
    began = time.perf_counter()
    cases = prepare_all(find_images([folder]), spacing, cache, lambda share: None, print).cases
    if (seconds := time.perf_counter() - began) > 1:
        print(f"{folder.name}: {len(cases)} images prepared once, in {seconds:.1f} s")
    return [case.path for case in cases], cases


def check(cases: list[Prepared], cache: Cache, read: Callable[[Path], np.ndarray]) -> None:
    """Refuse to time ways that begin with different values; the cache holds float16."""
    for case in cases:
        np.testing.assert_allclose(read(case.path), cache.open(case.key, "image")[:], rtol=1e-3, atol=1e-3)


def compare(ways: dict[str, Load]) -> dict[str, float]:
    """Median seconds of a sample in each way; the ways take turns, and a first round does not count."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way, load in ways.items():
            began = time.process_time()
            for i in range(turn * SAMPLES, (turn + 1) * SAMPLES):
                load(i)
            times[way].append((time.process_time() - began) / SAMPLES)
    return {way: statistics.median(seconds[1:]) for way, seconds in times.items()}


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("UNIMISS_DATA"), help="folder of the sets"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    if given.data is None:
        print("Nothing measured: neither --data nor UNIMISS_DATA names the folder of the image sets.")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        cache, films = Cache(Path(folder)), given.data / "cxr_classification"
        work = {f"CT, {VOLUME}": of_volumes(given.data / "deeplesion_ct", cache)}
        work |= {f"radiograph, {size}": of_pictures(films, cache, size) for size in PICTURES}
        print("| views | way | samples/s | times as fast |\n|---|---|---|---|")
        for name, ways in work.items():
            seconds = compare(ways)
            base = next(iter(seconds.values()))
            for way, found in seconds.items():
                results[f"{name} {way}"] = {"samples_s": 1 / found, "ratio": base / found}
                print(f"| {name} | {way} | {1 / found:.0f} | {base / found:.1f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
