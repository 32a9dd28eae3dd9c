"""What frozen features tell, trained against random weights: linear probes on held-out patients.

``python benchmarks/probes.py [MODEL…] [--json FILE]``, by default `starter`. Sets of UNIMISS_DATA:
`cxr_classification` (area under the ROC curve, radiographs at 96 squared), `msd_hippocampus` (Dice of each
class at the voxels of the decoder's finest grid). Random weights: three seeds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from unimiss.data.cases import is_held_out, patient_of
from unimiss.data.preprocessing import BY_PERCENTILE
from unimiss.io import read
from unimiss.models import Backbone, checkpoint
from unimiss.pretraining.probe import Probe

SEEDS = 3
HOLDOUT = 5
COVID = 0  # its images come from other scanners, which is easier to see than a disease
CASES = 60
GRID = (32, 96, 64)  # hippocampus crops are resized to it
DRAWN = 1500  # voxels of a case that the probe learns from

Dense = Callable[[Tensor], Tensor]


def radiographs(folder: Path) -> dict[str, Probe]:
    """The classes of `cxr_classification`: all three, and the two that come from one source."""
    every = Probe.read(folder, (96, 96), HOLDOUT, print)
    two = every.classes != COVID
    return {
        "X-rays, 3 classes": every,
        "X-rays, pneumonia": replace(
            every, images=every.images[two], classes=every.classes[two], held_out=every.held_out[two]
        ),
    }


def hippocampi(folder: Path) -> tuple[list[Tensor], list[NDArray[np.uint8]], list[bool]]:
    """Volumes (1, 1, *GRID), labels on the grid of the features, and who is held out."""
    volumes, labels, held = [], [], []
    for path in sorted((folder / "imagesTr").glob("*.nii.gz"))[:CASES]:
        image, label = read(path).array, read(folder / "labelsTr" / path.name).array
        volume = torch.from_numpy(BY_PERCENTILE.apply(image))[None]
        volumes.append(F.interpolate(volume, GRID, mode="trilinear"))
        cells = tuple(n // step for n, step in zip(GRID, (2, 4, 4), strict=True))
        nearest = F.interpolate(torch.from_numpy(label.astype(np.float32))[None], cells, mode="nearest-exact")
        labels.append(nearest[0, 0].numpy().astype(np.uint8))
        held.append(is_held_out(patient_of(path), HOLDOUT))
    return volumes, labels, held


def finest(backbone: Backbone) -> Dense:
    """Features (cells, channels) of the decoder's finest grid."""
    return lambda volume: backbone.decoder(backbone.encoder(volume)).stages[-1][0].flatten(1).T


def without_network(volume: Tensor) -> Tensor:
    """Intensity and position of every cell: what can be told without features."""
    value = F.avg_pool3d(volume, (2, 4, 4))[0, 0]
    places = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in value.shape), indexing="ij")
    return torch.stack([value, *places, *(p * p for p in places)]).flatten(1).T


def dice_of_probe(data: tuple[list[Tensor], list[NDArray[np.uint8]], list[bool]], dense: Dense) -> float:
    """Mean Dice of anterior and posterior hippocampus by a linear classifier of the cells."""
    volumes, labels, held = data
    with torch.inference_mode():
        features = [dense(volume).numpy() for volume in volumes]
    rng = np.random.default_rng(0)
    x, y = [], []
    for of_case, label, is_test in zip(features, labels, held, strict=True):
        if not is_test:
            some = rng.choice(label.size, DRAWN, replace=False)
            x.append(of_case[some])
            y.append(label.reshape(-1)[some])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(np.concatenate(x), np.concatenate(y))
    found = []
    for of_case, label, is_test in zip(features, labels, held, strict=True):
        if is_test:
            predicted = model.predict(of_case).reshape(label.shape)
            for value in (1, 2):
                one, other = predicted == value, label == value
                found.append(2 * (one & other).sum() / max(1, one.sum() + other.sum()))
    return float(np.mean(found))


def main() -> None:
    """Probe every model and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["starter"], metavar="MODEL")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    folder = Path(os.environ["UNIMISS_DATA"])
    probes, scans = radiographs(folder / "cxr_classification"), hippocampi(folder / "msd_hippocampus")
    results: dict[str, dict[str, list[float]]] = {}

    def note(model: str, backbone: Backbone) -> None:
        backbone.eval()
        into = results.setdefault(model, {})
        for name, probe in probes.items():
            for figure, value in probe.measure(backbone).items():
                into.setdefault(f"{name}, {figure.removeprefix('probe_')}", []).append(value)
        into.setdefault("hippocampus, Dice of cells", []).append(dice_of_probe(scans, finest(backbone)))

    for seed in range(SEEDS):
        torch.manual_seed(seed)
        note("random weights", Backbone("tiny"))
    for model in given.models:
        note(model, checkpoint.load(model).network())
    by_hand = {"hippocampus, Dice of cells": [dice_of_probe(scans, without_network)]}
    results["no network: intensity and position"] = by_hand
    names = list(results["random weights"])
    print(f"| features | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for model, figures in results.items():
        cells = [f"{np.mean(v):.3f} ± {np.std(v):.3f}" if (v := figures.get(n)) else "" for n in names]
        print(f"| {model} | {' | '.join(cells)} |")
    tests = ", ".join(f"{name}: {probe.held_out.sum()}" for name, probe in probes.items())
    print(f"\nHeld-out images. {tests}; hippocampus: {sum(scans[2])} of {len(scans[2])} cases")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
