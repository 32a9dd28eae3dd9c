"""Radiographs against a plain projector, as a ratio in the same run.

``python benchmarks/drr.py [--size N] [--json FILE]``. The plain one goes along all rays together, sample by
sample, from the depth of the volume's first face to that of its last. That both give the same numbers, to 2 %
of the largest, is checked first: the plain one weights neither the first nor the last step of a slanting ray.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unimiss.devices import best_device
from unimiss.drr import CONE, PARALLEL, VIEWS, Beam, Detector, View, project
from unimiss.geometry import Geometry

STEP = 1.0
REPETITIONS = 5


def plain(volume: Tensor, geometry: Geometry, view: View, beam: Beam, detector: Detector) -> Tensor:
    """Line integrals by a loop over depth; what lies outside the volume is sampled as zeros."""
    size = np.multiply(geometry.shape, geometry.spacing)
    towards, down, right = (
        torch.tensor(v, dtype=torch.float32, device=volume.device) for v in (view.beam, view.down, view.right)
    )
    rows, columns = (
        (torch.arange(n, device=volume.device) - (n - 1) / 2) * detector.pixel for n in detector.shape
    )
    across = rows[:, None, None] * down + columns[None, :, None] * right
    reach = abs(float(np.dot(size, view.beam))) / 2
    lines = volume.new_zeros(len(volume), 1, *detector.shape)
    scale = torch.tensor(2 / size, dtype=torch.float32, device=volume.device)
    slant = 1.0
    if not beam.parallel:
        slant = (1 + (across / beam.source_detector).square().sum(-1)).sqrt()
    for depth in torch.arange(-reach + STEP / 2, reach, STEP).tolist():
        spread = 1.0 if beam.parallel else (beam.source_object + depth) / beam.source_detector
        places = (across * spread + towards * depth) * scale
        grid = places.flip(-1)[None, None].expand(len(volume), -1, -1, -1, -1)
        inside = (places.abs() <= 1).all(-1)
        values = F.grid_sample(volume, grid, padding_mode="border", align_corners=False)[:, :, 0]
        lines += values * inside * (slant * STEP)
    return lines


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, after a first one that is not counted."""
    times = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def compare(name: str, beam: Beam, detector: Detector | None, size: int, batch: int) -> dict[str, object]:
    """Time both ways on one kind of picture."""
    device = torch.device("cuda" if best_device().type == "cuda" else "cpu")
    geometry = Geometry.from_spacing((size, size, size), (2.0, 1.5, 1.5))
    middle = torch.arange(size, device=device) - (size - 1) / 2
    ball = (middle[:, None, None] ** 2 + middle[:, None] ** 2 + middle**2 < (size / 2.5) ** 2).float()
    volume = F.avg_pool3d(ball[None, None], 5, 1, 2).repeat(batch, 1, 1, 1, 1)
    view = VIEWS[name]
    panel = detector or Detector.covering(geometry, view, beam)

    def ours() -> Tensor:
        return project(volume, geometry, view, beam, detector=panel, step=STEP)

    def theirs() -> Tensor:
        return plain(volume, geometry, view, beam, panel)

    with torch.inference_mode():
        expected = theirs()
        torch.testing.assert_close(ours(), expected, rtol=0, atol=0.02 * float(expected.max()))
        seconds = median_seconds(theirs, device), median_seconds(ours, device)
    return {
        "view": name,
        "beam": "parallel" if beam.parallel else "cone",
        "pixels": list(panel.shape),
        "batch": batch,
        "plain": seconds[0],
        "ours": seconds[1],
        "ratio": seconds[0] / seconds[1],
        "device": device.type,
    }


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    rows = [compare(name, CONE, None, given.size, 1) for name in VIEWS]
    rows.append(compare("frontal", CONE, None, given.size, 4))
    rows.append(compare("frontal", CONE, Detector((320, 320), 4 * 0.287), given.size // 2, 1))
    rows.append(compare("frontal", PARALLEL, None, given.size, 1))
    print(f"{'view':10}{'beam':10}{'pixels':>12}{'batch':>7}{'plain':>10}{'ours':>10}{'ratio':>8}")
    for row in rows:
        pixels = "x".join(map(str, row["pixels"]))
        print(
            f"{row['view']:10}{row['beam']:10}{pixels:>12}{row['batch']:>7}"
            f"{row['plain']:>9.4f}s{row['ours']:>9.4f}s{row['ratio']:>8.1f}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
