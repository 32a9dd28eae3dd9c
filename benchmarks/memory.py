"""Whether the memory of a pre-training stays flat: every image of a large set is trained on twice.

``python benchmarks/memory.py [--images N] [--workers N] [--json FILE] [--plot FILE]``. Generates N
radiographs and a fifth as many volumes, all tiny, and pre-trains MiT tiny on them as a user does, in a
process of its own. The resident memory of that process and its children is read twice a second. The slope is
that of a straight line through the means of twenty equal parts of the images; its standard error comes from
how far these means lie from the line. A plot needs matplotlib.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image as Pillow

from unimiss.geometry import Geometry
from unimiss.io import Image, write
from unimiss.runs import Run
from unimiss.runs.launch import command_line

EPOCHS = 2
BATCH = {2: 50, 3: 20}
TURN = {2: 10, 3: 5}  # steps in one dimension before those in the other: 500 radiographs, then 100 volumes
SMALLEST = BATCH[2] * TURN[2]
PARTS = 20
PATIENCE = 0.5  # seconds between looks
MIB = 2**20

Samples = NDArray[np.float64]


def generate(folder: Path, images: int) -> int:
    """Write radiographs of 48 x 48 pixels and volumes of 8 x 40 x 40 voxels; return how many volumes."""
    rng = np.random.default_rng(0)
    volumes = images // SMALLEST * BATCH[3] * TURN[3]
    for kind in ("radiographs", "volumes"):
        (folder / kind).mkdir()
    for n in range(images):
        pixels = rng.integers(0, 256, (48, 48), dtype=np.uint8)
        Pillow.fromarray(pixels).save(folder / "radiographs" / f"{n:05d}.png")
    for n in range(volumes):
        voxels = rng.integers(-1000, 1000, (1, 8, 40, 40)).astype(np.int16)
        write(Image(voxels, Geometry.from_spacing(voxels.shape[1:])), folder / "volumes" / f"{n:05d}.nii")
    return volumes


def start(folder: Path, images: int, workers: int) -> subprocess.Popen[bytes]:
    """Start a pre-training that shows every image `EPOCHS` times."""
    settings = {
        "holdout": 0,
        "precision": "32-true",
        "size_2d": [32, 32],
        "size_3d": [4, 32, 32],
        "spacing": [1, 1, 1],
        "outputs": 64,
        "epochs_each": 1,
        "workers": workers,
        "steps": EPOCHS * images // SMALLEST * (TURN[2] + TURN[3]),
        **{f"batch_{n}d": batch for n, batch in BATCH.items()},
        **{f"epoch_{n}d": steps for n, steps in TURN.items()},
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]
    places = ["--images", str(folder / "radiographs"), "--volumes", str(folder / "volumes")]
    command = command_line("pretrain", *places, "--run", str(folder / "run"), *options)
    environment = {**os.environ, "UNIMISS_CACHE": str(folder / "cache")}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)


def watch(process: subprocess.Popen[bytes]) -> Samples:
    """Times and resident MiB of a process and its children, until it ends: shape (N, 2)."""
    found = []
    root = psutil.Process(process.pid)
    while process.poll() is None:
        held = 0
        for one in (root, *root.children(recursive=True)):
            try:
                held += one.memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
        found.append((time.time(), held / MIB))
        time.sleep(PATIENCE)
    if process.returncode:
        raise SystemExit(f"the pre-training ended with status {process.returncode}")
    return np.array(found[:-1])  # the last look may be at a process that is ending


def shown(run: Run, samples: Samples) -> Samples:
    """Images that training had seen by the time of each sample, 0 while they were prepared."""
    metrics = run.metrics()
    dimensions = [2 if "loss_image_image" in entry else 3 for entry in metrics]
    counts = np.cumsum([BATCH[dimension] for dimension in dimensions])
    return np.interp(samples[:, 0], [entry["time"] for entry in metrics], counts, left=0)


def slope(seen: Samples, held: Samples) -> tuple[float, float]:
    """MiB per 1,000 images, and its standard error."""
    places = np.linspace(seen[0], seen[-1], PARTS + 1)[1:-1]
    part = np.digitize(seen, places)
    parts = np.unique(part)
    x = np.array([seen[part == n].mean() for n in parts]) / 1000
    y = np.array([held[part == n].mean() for n in parts])
    (gradient, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(gradient), float(np.sqrt(covariance[0, 0]))


def figures(seen: Samples, held: Samples, epoch: int) -> dict[str, float]:
    """Summarise the samples of a training; an epoch is so many images."""
    warm = epoch / 4

    def about(images: float) -> float:
        return float(np.median(held[np.argsort(np.abs(seen - images))[:5]]))

    training = seen >= warm
    gradient, error = slope(seen[training], held[training])
    second = seen >= epoch
    late, late_error = slope(seen[second], held[second])
    return {
        "prepared_mib": float(held[seen == 0].max()),
        "warm_mib": about(warm),
        "first_epoch_mib": about(epoch),
        "second_epoch_mib": about(EPOCHS * epoch),
        "slope_mib_per_1000": gradient,
        "slope_error": error,
        "second_epoch_slope_mib_per_1000": late,
        "second_epoch_slope_error": late_error,
    }


def plot(file: Path, samples: Samples, seen: Samples, epoch: int) -> None:
    """Draw memory over images seen; what was held while preparing lies left of zero, by time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9, 3.5), sharey=True, width_ratios=(1, 3), layout="constrained"
    )
    preparing = seen == 0
    left.plot(samples[preparing, 0] - samples[0, 0], samples[preparing, 1], color="tab:gray")
    left.set(xlabel="preparing, seconds", ylabel="resident memory, MiB", ylim=(0, 1.2 * samples[:, 1].max()))
    right.plot(seen[~preparing], samples[~preparing, 1], color="tab:blue")
    right.axvline(epoch, color="black", linewidth=0.8, linestyle="--")
    right.annotate("second epoch", (epoch, 10), xytext=(6, 4), textcoords="offset points")
    right.set(xlabel="images trained on", xlim=(0, EPOCHS * epoch))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Generate, train, watch, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000, help=f"radiographs, a multiple of {SMALLEST}")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare views")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the memory into this PNG")
    given = parser.parse_args()
    if given.images < SMALLEST or given.images % SMALLEST:
        parser.error(f"--images must be a multiple of {SMALLEST}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volumes = generate(folder, given.images)
        began = time.perf_counter()
        samples = watch(start(folder, given.images, given.workers))
        seconds = time.perf_counter() - began
        run = Run(folder / "run")
        assert len(run.manifest()["images"]) == given.images
        assert len(run.manifest()["volumes"]) == volumes
        seen = shown(run, samples)
    epoch = given.images + volumes
    found = {"images": given.images, "volumes": volumes, "seconds": seconds}
    found |= figures(seen, samples[:, 1], epoch)
    print(f"{given.images} radiographs and {volumes} volumes, each {EPOCHS} times, in {seconds:.0f} s; MiB:")
    for label, key in (
        ("most while preparing", "prepared_mib"),
        ("after the warm-up, a quarter of an epoch", "warm_mib"),
        ("at the end of the first epoch", "first_epoch_mib"),
        ("at the end of the second epoch", "second_epoch_mib"),
    ):
        print(f"{label:<44}{found[key]:8.1f}")
    for label, key in (("after the warm-up", "slope"), ("in the second epoch", "second_epoch_slope")):
        value, error = found[f"{key}_mib_per_1000"], found[f"{key}_error"]
        print(f"{'per 1,000 images ' + label:<44}{value:8.2f} +- {error:.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    if given.plot:
        plot(given.plot, samples, seen, epoch)


if __name__ == "__main__":
    main()
