"""What `auto` becomes: from the data, the device and the preset, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unimiss.devices import resolve_precision
from unimiss.pretraining.config import PretrainConfig
from unimiss.settings import known

_PAPER: dict[str, Any] = {
    "batch_2d": 192,
    "batch_3d": 192,
    "size_2d": (224, 224),
    "size_3d": (16, 96, 96),
    "spacing": (3.0, 1.0, 1.0),
    "central_crop": 0.8,
    "crop_above": 0,
    "least_plane": 256,
    "weighting": "stride",
    "mixing": "epoch",
    "outputs": 65536,
    "teacher_temperature": 0.04,
    "momentum": 0.996,
    "clip": 0.3,
    "clip_each": True,
    "shared_center": True,
    "center_from_first": False,
    "epochs_each": 2,
    "decoder_drop_path": 0.0,
    "drr_views": (),
}
_PAPER_PLUS = _PAPER | {
    "batch_2d": 96,
    "batch_3d": 96,
    "size_2d": (96, 96),
    "crop_above": 320,
    "clip": 0.0,
    "clip_each": False,
    "epochs_each": 1,
    "decoder_drop_path": 0.1,
    "drr_views": ("axial",),
}


@dataclass(frozen=True)
class _Paper:
    """What a paper trained with, and its epochs: all, those of warm-up, those with a frozen last layer."""

    values: dict[str, Any]
    epochs: int
    warmup: int
    frozen: int


_PAPERS = {"unimiss": _Paper(_PAPER, 200, 10, 1), "unimiss+": _Paper(_PAPER_PLUS, 401, 10, 2)}
_DEMO: dict[str, Any] = {"batch_2d": 16, "batch_3d": 2, "size_2d": (64, 64), "size_3d": (16, 48, 48)}

_WHOLE: dict[str, Any] = {"central_crop": 1.0, "crop_above": 0, "least_plane": 0, "weighting": "size"}

_SMALLEST_BATCH = 4  # views of one image may be several samples; fewer tell nothing about a collapse
_FLAT = 0.4  # of the smaller extent in plane; volumes with less depth are slabs of a scan

Reasons = dict[str, str]


def resolve_sizes(
    config: PretrainConfig,
    images: int,
    volumes: int,
    grid: tuple[tuple[float, ...], tuple[float, ...]] | None,
    processes: int,
) -> tuple[PretrainConfig, Reasons]:
    """Fill in what depends on the images: voxel size, view sizes, batch sizes.

    Parameters
    ----------
    config : PretrainConfig
        As the user gave it.
    images, volumes : int
        How many there are of each.
    grid : pair of tuple of float, or None
        Median spacing and extent of the volumes, mm.
    processes : int
        That share each batch evenly.
    """
    gpu = torch.cuda.is_available()
    paper = _PAPERS[config.objective].values
    values: dict[str, Any] = {}
    reasons: Reasons = {}
    if config.preset == "paper":
        values, reasons = dict(paper), dict.fromkeys(paper, "the paper's")
    else:
        values["size_2d"] = paper["size_2d"] if gpu else (96, 96)
        reasons["size_2d"] = (
            "the published size"
            if values["size_2d"] == paper["size_2d"]
            else "a step of 224 squared takes a CPU 5 times as long"
        )
        values["drr_views"], reasons["drr_views"] = _drr_views(config, grid)
        values["batch_2d"], values["batch_3d"] = (64, 24) if gpu else (32, 4)
        reasons["batch_2d"] = reasons["batch_3d"] = "what a step of seconds allows on this device"
        if grid is not None:
            spacing = known_spacing(config, grid[0])
            sizes = [extent / step for extent, step in zip(grid[1], spacing, strict=True)]
            plane = int(min(96, max(32, min(sizes[1:]) // 16 * 16)))
            values["spacing"], values["size_3d"] = spacing, (max(4, min(16, int(sizes[0]))), plane, plane)
            reasons["spacing"] = "the median of the volumes"
            reasons["size_3d"] = "at most the published 16x96x96, within the median volume"
        if config.preset == "demo":
            values |= _DEMO
            reasons |= dict.fromkeys(_DEMO, "the demo's")
    values = {"spacing": (3.0, 1.0, 1.0), "size_3d": (16, 96, 96)} | _WHOLE | values
    reasons = dict.fromkeys(_WHOLE, "all of every volume, in proportion to its size") | reasons
    for name, count in (("batch_2d", images), ("batch_3d", volumes)):
        fitting = max(1, min(values[name], max(count, _SMALLEST_BATCH)) // processes) * processes
        if fitting < values[name]:
            reasons[name] = f"there are {count} images"
        values[name] = fitting
    values["precision"] = resolve_precision("auto")
    reasons["precision"] = "what this device computes fastest"
    return _fill(config, values, reasons)


def resolve_schedule(config: PretrainConfig, images: int, volumes: int) -> tuple[PretrainConfig, Reasons]:
    """Fill in what depends on the number of usable images: steps, epochs, temperatures, rates."""
    batch_2d, batch_3d = known(config.batch_2d), known(config.batch_3d)
    pass_2d, pass_3d = max(1, images // batch_2d), max(1, volumes // batch_3d)
    paper, published = config.preset == "paper", _PAPERS[config.objective]
    values: dict[str, Any] = dict(published.values) if paper else {}
    reasons: Reasons = dict.fromkeys(values, "the paper's")
    both = (pass_2d if images else 0) + (pass_3d if volumes else 0)
    mean_pass = both / (bool(images) + bool(volumes))
    steps = 0 if config.steps == "auto" else config.steps
    if not steps:
        steps = (
            round(published.epochs * mean_pass) if paper else max(200, min(20_000, round(100 * mean_pass)))
        )
        reasons["steps"] = f"{round(steps / mean_pass)} passes over the images"
    values["steps"] = steps
    # Short runs still have to see both dimensions several times, hence an eighth of them at most.
    longest = 10**9 if paper else max(1, steps // 8)
    values["epoch_2d"], values["epoch_3d"] = min(pass_2d, longest), min(pass_3d, longest)
    reasons["epoch_2d"] = reasons["epoch_3d"] = "one pass, and an eighth of all steps at most"
    per_epoch = steps / published.epochs
    values["warmup"] = round(published.warmup * per_epoch)
    values["freeze_last"] = round(published.frozen * per_epoch)
    batch = batch_2d if images else batch_3d
    reasons |= dict.fromkeys(("lr", "warmup", "freeze_last"), "the paper's, for this batch and these steps")
    if paper:
        values["lr"] = 8e-4 * batch / 256
    else:
        large = images + volumes > 20_000
        values |= {
            "lr": 8e-4 * batch / 256,
            "outputs": 4096 if large else 256,
            "teacher_temperature": 0.04 if large else 0.02,
            "momentum": 0.996 if large else 0.99,
            "clip": 3.0,
            "clip_each": False,
            "mixing": "step",
            "shared_center": False,
            "center_from_first": True,
            "epochs_each": published.values["epochs_each"],
            "decoder_drop_path": 0.0,
        }
        reasons["epochs_each"] = "as published"
        reasons["mixing"] = "both dimensions see the schedules alike"
        reasons["shared_center"] = "with one center, a prototype for each dimension would do"
        values["warmup"] = round(0.1 * steps)
        reasons |= dict.fromkeys(("clip", "clip_each"), "of all gradients together: their direction stays")
        reasons["decoder_drop_path"] = "short trainings need no more noise"
        why = "with more prototypes or a softer teacher it stays uniform on so few images"
        reasons |= dict.fromkeys(("outputs", "teacher_temperature"), "many images" if large else why)
        steady = "a faster teacher or larger steps collapse to one prototype before they learn"
        reasons |= dict.fromkeys(("momentum", "lr", "warmup", "center_from_first"), steady)
    values["checkpoint_every"] = max(1, min(500, steps // 10))
    reasons["checkpoint_every"] = "a tenth of all steps, 500 at most"
    values["workers"] = 0 if not torch.cuda.is_available() else min(8, torch.get_num_threads())
    reasons["workers"] = (
        "on a CPU the network needs every core" if not values["workers"] else "at most 8 cores"
    )
    return _fill(config, values, reasons)


def _drr_views(
    config: PretrainConfig, grid: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> tuple[tuple[str, ...], str]:
    """From where radiographs of CTs are taken, and why."""
    if config.objective == "unimiss":
        return (), "not in UniMiSS"
    if grid is not None and grid[1][0] < _FLAT * min(grid[1][1:]):
        return ("axial",), "the volumes are flat: from the front or the side they are a strip"
    return ("frontal", "lateral"), "as chest radiographs are taken"


def known_spacing(config: PretrainConfig, median: tuple[float, ...]) -> tuple[float, ...]:
    """Return the spacing that the user gave, else the median."""
    return median if isinstance(config.spacing, str) else config.spacing


def _fill(config: PretrainConfig, values: dict[str, Any], reasons: Reasons) -> tuple[PretrainConfig, Reasons]:
    """Replace each `auto` by its value; what the user gave stays."""
    auto = {name: value for name, value in values.items() if getattr(config, name) == "auto"}
    filled = PretrainConfig.build({**config.model_dump(), **auto})
    return filled, {name: reason for name, reason in reasons.items() if name in auto}
