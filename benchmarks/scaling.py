"""How pre-training grows with the number of images and with the depth of a view.

``python benchmarks/scaling.py [--network tiny|small] [--json FILE]``. Images: samples per second, and memory
that the list of them takes, from a hundred to the 120,000 of the paper, against a hundred. Depth: a step on
two volumes, as in `networks.py`, against the published depth of 16. Each row is a process of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import networks
import numpy as np
import psutil

from unimiss.data.cache import Cache
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.prepare import Prepared
from unimiss.pretraining.sampling import Views

COUNTS = (100, 10_000, 120_000)
DEPTHS = (16, 32, 64, 96)
STEPS = 40


def images(count: int) -> dict[str, float]:
    """Samples per second, and MiB of the list, of so many volumes that share one array in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        volume = np.random.default_rng(0).random((1, 24, 160, 160), dtype=np.float32)
        cache.ensure("volume", lambda: {"image": volume.astype(np.float16)})
        config = PretrainConfig(
            volumes=["volumes"], steps=STEPS, batch_3d=1, size_3d=(16, 96, 96), epoch_2d=1, epoch_3d=1,
            epochs_each=1, mixing="epoch",
        )  # fmt: skip
        before = psutil.Process().memory_info().rss
        paths = [Path(f"volumes/patient_{i:06d}/scan.nii.gz") for i in range(count)]
        views = Views(config, [], [Prepared(path, "volume") for path in paths], cache)
        views[(0, 0)]
        taken = psutil.Process().memory_info().rss - before
        began = time.perf_counter()
        for step in range(1, STEPS + 1):
            views[(step, 0)]
        return {"per_s": STEPS / (time.perf_counter() - began), "mib": taken / 2**20}


def depth(slices: int, network: str) -> dict[str, float]:
    """Seconds and peak GiB of a step on volumes of so many slices."""
    networks.SHAPES["3D"] = (2, 1, slices, 96, 96)
    return networks.measure(networks.OURS, "step", "3D", "fp32", network)


def in_a_process(*what: object) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, __file__, "--one", *map(str, what)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure everything and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        kind, number = given.one[0], int(given.one[1])
        print(json.dumps(images(number) if kind == "images" else depth(number, given.network)))
        return
    of_images = {count: in_a_process("images", count) for count in COUNTS}
    print("| volumes | samples/s | of those of 100 | MiB of the list |\n|---|---|---|---|")
    for count, found in of_images.items():
        share = found["per_s"] / of_images[COUNTS[0]]["per_s"]
        print(f"| {count} | {found['per_s']:.0f} | {share:.2f} | {found['mib']:.0f} |")
    of_depth = {slices: in_a_process("depth", slices, "--network", given.network) for slices in DEPTHS}
    print("\n| depth | seconds | times that of 16 | peak GiB |\n|---|---|---|---|")
    for slices, found in of_depth.items():
        times = found["seconds"] / of_depth[16]["seconds"]
        print(f"| {slices} | {found['seconds']:.2f} | {times:.2f} | {found['gib']:.2f} |")
    if given.json:
        given.json.write_text(json.dumps({"images": of_images, "depth": of_depth}, indent=2))


if __name__ == "__main__":
    main()
