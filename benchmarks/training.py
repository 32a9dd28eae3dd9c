"""What the engine's shortcuts gain, each as a ratio against the plain way in the same run.

``python benchmarks/training.py [--json FILE]``. Medians of several repetitions, nothing else running.
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

from unimiss.data.cache import Cache
from unimiss.data.views import volume_views
from unimiss.devices import best_device
from unimiss.io import read, write
from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead
from unimiss.samples import torso

Timing = Callable[[], object]


def median_seconds(work: Timing, repetitions: int = 5) -> float:
    """Seconds of one call, after a first one that is not counted."""
    work()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def views_from_cache(folder: Path) -> tuple[Timing, Timing]:
    """Two views of a volume: from the file each time, against from the cache."""
    scan = torso(0, spacing=(2.0, 1.5, 1.5)).image
    write(scan, folder / "scan.nii.gz")
    cache = Cache(folder / "cache")
    cache.ensure("scan", lambda: {"image": scan.array.astype(np.float16) / 1024})
    size = (16, 96, 96)

    def plain() -> object:
        return volume_views(read(folder / "scan.nii.gz").array, size, np.random.default_rng(0))

    def ours() -> object:
        return volume_views(cache.open("scan", "image"), size, np.random.default_rng(0))

    return plain, ours


def slice_scores(folder: Path) -> tuple[Timing, Timing]:
    """65,536 scores of 16 slices of 8 views: the mean of all scores, against the scores of the mean."""
    torch.manual_seed(0)
    device = best_device()
    head = ProjectionHead(48, 65_536).to(device)
    x = torch.randn(8 * 16, 48, device=device)

    def plain() -> object:
        return head(x).view(8, 16, -1).mean(dim=1).sum().backward()

    def ours() -> object:
        return head.logits(head.features(x).view(8, 16, -1).mean(dim=1)).sum().backward()

    return plain, ours


def precision(folder: Path) -> tuple[Timing, Timing]:
    """Forward and backward pass of MiT tiny on four volumes: fp32, against bf16 autocast."""
    torch.manual_seed(0)
    device = best_device()
    network = Backbone("tiny").to(device)
    x = torch.randn(4, 1, 16, 96, 96, device=device)

    def step(enabled: bool) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            out = network(x)
        out.float().sum().backward()
        network.zero_grad()

    return lambda: step(False), lambda: step(True)


BENCHMARKS = {
    "views from the cache / from the file": views_from_cache,
    "scores of the mean slice / mean of slice scores": slice_scores,
    "bf16 / fp32 step": precision,
}


def main() -> None:
    """Run all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    results = {}
    for name, make in BENCHMARKS.items():
        with tempfile.TemporaryDirectory() as folder:
            plain, ours = (median_seconds(work) for work in make(Path(folder)))
        results[name] = {"baseline_s": plain, "ours_s": ours, "ratio": plain / ours}
        print(f"{name:<50} {plain:8.4f} s  {ours:8.4f} s  {plain / ours:5.1f} times as fast", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
