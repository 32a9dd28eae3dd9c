"""The main job on generated people: pre-train, fine-tune, predict, evaluate, look."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from unimiss.errors import InputError
from unimiss.evaluation import Report, evaluate_folder
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.inference import Predictor
from unimiss.inference.folder import predict_files
from unimiss.io import read
from unimiss.overlay import save_overlay
from unimiss.pretraining import PretrainConfig, pretrain
from unimiss.runs.writer import Listener
from unimiss.samples import write_dataset, write_radiographs

_SPACING = (6.0, 4.0, 4.0)
_UNLABELLED = range(100, 118)
_LABELLED = range(1, 11)
_UNSEEN = range(50, 53)
_PRETRAINING_STEPS = 60
_FINETUNING_MINUTES = 4.5

_ORGANS = ("lungs", "heart", "liver", "spleen", "kidneys", "spine")
"""Organs of the headline figure; ribs are thinner than the demo's voxels, and reported on their own."""

Say = Callable[[str], None]


def demo(output: Path, *, say: Say, listener: Listener) -> Report:
    """Run the main job in a folder.

    Parameters
    ----------
    output : Path
        Receives data, runs, predictions and ``overlay.png``; an earlier demo in it is replaced.
    say : callable
        Receives lines for the user.
    listener : callable
        Receives the events of both trainings.

    Returns
    -------
    Report
        Dice of every organ on the unseen people.
    """
    began = time.monotonic()
    unlabelled, labelled, unseen = output / "unlabelled", output / "labelled", output / "unseen"
    pretraining, finetuning, predictions = (
        output / "pretraining",
        output / "finetuning",
        output / "predictions",
    )
    _clear(output)
    say(f"Generating people: {len(_UNLABELLED)} unlabelled, {len(_LABELLED)} labelled, {len(_UNSEEN)} unseen")
    _generate(unlabelled, labelled, unseen)
    say("Pre-training MiT on radiographs and volumes together")
    settings = PretrainConfig(
        images=[unlabelled / "radiographs"],
        volumes=[unlabelled / "imagesTr"],
        preset="demo",
        steps=_PRETRAINING_STEPS,
        holdout=0,
    )
    pretrain(settings, pretraining, listener=listener)
    say("Fine-tuning on the labelled volumes")
    finetune(
        FinetuneConfig(dataset=labelled, init=pretraining, minutes=_FINETUNING_MINUTES, holdout=0),
        finetuning,
        listener=listener,
    )
    say("Predicting the unseen volumes")
    predictor = Predictor(finetuning)
    predict_files(predictor, [unseen / "imagesTr"], predictions, progress=lambda share, name: None, warn=say)
    report = evaluate_folder(predictions, unseen / "labelsTr")
    dice = {report.labels[label]: scores.dice for label, scores in report.by_class().items()}
    mean = sum(dice[organ] for organ in _ORGANS) / len(_ORGANS)
    say(f"Mean Dice over {', '.join(_ORGANS)} of {len(_UNSEEN)} unseen people: {mean:.3f}")
    first = sorted((unseen / "imagesTr").iterdir())[0]
    mask = predictions / first.name
    picture = output / "overlay.png"
    named = replace(read(mask), labels=predictor.labels)
    save_overlay(read(first), named, picture, f"{first.name}: predicted")
    say(f"Done in {time.monotonic() - began:.0f} s. Overlay: {picture}; masks: {predictions}; runs: {output}")
    return report


def show(output: Path, say: Say) -> None:
    """Open napari on the first unseen person; where there is no screen, save its picture by Xvfb.

    It runs in a process of its own: the engine knows neither napari nor Qt.
    """
    image = sorted((output / "unseen" / "imagesTr").iterdir())[0]
    mask, picture = output / "predictions" / image.name, output / "viewer.png"
    command = [sys.executable, "-m", "napari_unimiss.show", str(image), str(mask)]
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        if shutil.which("xvfb-run") is None:
            say("There is no screen, and xvfb-run is missing; the viewer was not opened")
            return
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", *command, "--picture", str(picture)]
    status = subprocess.run(command, check=False).returncode
    if status:
        say("The viewer could not be opened; `unimiss doctor` says what is missing")
    elif "--picture" in command:
        say(f"The viewer's picture: {picture}")


def _clear(output: Path) -> None:
    """Remove what an earlier demo left; a folder with anything else in it is refused."""
    ours = {
        "unlabelled",
        "labelled",
        "unseen",
        "pretraining",
        "finetuning",
        "predictions",
        "overlay.png",
        "viewer.png",
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        strangers = sorted(entry.name for entry in output.iterdir() if entry.name not in ours)
        if strangers:
            raise InputError(
                f"{output} holds other files ({strangers[0]}); name an empty folder with --output"
            )
        for entry in output.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    except OSError as error:
        raise InputError(f"{output} cannot be used: {error.strerror}") from error


def _generate(unlabelled: Path, labelled: Path, unseen: Path) -> None:
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        jobs: list[Future[Any]] = [
            pool.submit(write_dataset, folder, seeds, spacing=_SPACING)
            for folder, seeds in ((unlabelled, _UNLABELLED), (labelled, _LABELLED), (unseen, _UNSEEN))
        ]
        jobs += [pool.submit(write_radiographs, unlabelled / "radiographs", [seed]) for seed in _UNLABELLED]
        for job in jobs:
            job.result()
