"""A fine-tuning from settings to finished run folder."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unimiss.data.cache import Cache
from unimiss.data.cases import Case, fold_of, is_held_out
from unimiss.data.datasets import open_dataset
from unimiss.devices import refuse_uneven, versions
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.loop import Finetuning, Material
from unimiss.finetuning.prepare import PreparedCase, fit_intensity, prepare_cases, resolve_grid
from unimiss.finetuning.train import train
from unimiss.models import checkpoint
from unimiss.models.segmentation import SegmentationNetwork
from unimiss.models.transfer import transfer
from unimiss.runs import Run
from unimiss.runs.writer import Listener, RunWriter
from unimiss.settings import known
from unimiss.training import carry_out

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_FEWEST_TO_HOLD_OUT = 20
_STEPS = {"cpu": 2_000, "cuda": 25_000}

Splits = dict[str, list[Case]]


def finetune(
    config: FinetuneConfig, run: Path | str, *, resume: bool = False, listener: Listener | None = None
) -> Run:
    """Train a segmentation network on labelled cases.

    Parameters
    ----------
    config : FinetuneConfig
        Settings; to resume, those of the run folder.
    run : path
        Run folder, new or to be resumed.
    resume : bool
        Go on with the run in that folder.
    listener : callable, optional
        Receives every event.

    Returns
    -------
    Run
        The folder; its state says whether the run finished or was stopped.

    Raises
    ------
    InputError
        Settings, data set or folder cannot be used.
    JobError
        The training failed on its way.
    """
    return carry_out(_finetune, config, run, resume=resume, listener=listener, done="fine-tuned")


def _finetune(config: FinetuneConfig, writer: RunWriter, fabric: Fabric) -> bool:
    cache = Cache()
    places = {"dataset": config.dataset.resolve(), "init": config.init and config.init.resolve()}
    config = config.model_copy(update=places)
    # A resumed run has all weights in its own checkpoint.
    fresh = config.init is not None and not writer.run.last.exists()
    source = checkpoint.load(config.init) if fresh and config.init else None
    if source is not None:
        config = config.model_copy(update={"network": source.description.network})

    said = ""

    def checking(share: float) -> None:
        nonlocal said
        writer.refuse_to_go_on()
        stage = f"checking the data set, {share:.0%}"
        if stage != said:  # it is quick: one event for each case would fill the file
            writer.progress(0.0, stage=stage)
        said = stage

    dataset = open_dataset(
        config.dataset,
        labels=config.labels,
        ignore=config.ignore,
        accept=config.accept,
        report=checking,
        warn=writer.warn,
    )
    labels = dataset.labels
    if dataset.kind != config.task:
        raise InputError(f"{config.dataset} is a data set for {dataset.kind}, and the task is {config.task}")
    if dataset.overlapping:
        names = ", ".join(name for value, name in labels.items() if value)
        raise InputError(
            f"{config.dataset}: {names} may overlap, and overlapping classes cannot be trained yet"
        )
    if len(labels) < 2:
        raise InputError(f"{config.dataset}: the masks hold no class besides the background")
    splits = _saved_splits(writer, dataset.cases) or split_cases(dataset.cases, config)
    if config.holdout and not splits["test"]:
        writer.warn(f"no patient is held out for a test: there are fewer than {_FEWEST_TO_HOLD_OUT}")
    used = splits["training"] + splits["validation"]
    config = _resolve_length(resolve_grid(config, used, fabric.world_size))
    refuse_uneven(config.batch_size, fabric.world_size)

    def report(share: float) -> None:
        writer.refuse_to_go_on()
        writer.progress(0.0, stage=f"preparing cases, {share:.0%}")

    with fabric.rank_zero_first():
        prepared, storing = prepare_cases(used, config, dataset, cache, report, writer.warn)
    training = [item for item in prepared if item.case in set(splits["training"])]
    validation = [item for item in prepared if item.case in set(splits["validation"])]
    if not training or not validation:
        raise InputError(
            f"{config.dataset}: training and validation need one usable case each; "
            f"{len(used) - len(prepared)} of {len(used)} cases were left out"
        )
    material = Material(training, validation, labels, fit_intensity(storing, training, cache))
    torch.manual_seed(config.seed)
    network = SegmentationNetwork(
        config.network,
        material.preprocessing.channels,
        len(labels),
        known(config.patch),
        rereads_coarsest=_rereads_coarsest(config, writer),
        drop_path=config.drop_path,
    )
    transferred = None if source is None else transfer(network, source.network())
    if transferred is not None:
        writer.progress(0.0, stage=f"weights: {transferred}")
    if not writer.resumed:
        writer.save_manifest(_manifest(config, splits, prepared, labels, transferred))
    elif len(prepared) < len(writer.run.manifest()["hashes"]):
        raise InputError("cases of this run are gone or damaged (see above); put them back to resume it")
    writer.save_config(config.model_dump(mode="json"))  # last: a folder with it can be resumed
    provenance = {"versions": versions(), "seed": config.seed, "dataset": dataset.name}
    return train(Finetuning(config, network, material, cache, fabric), writer, provenance)


def _rereads_coarsest(config: FinetuneConfig, writer: RunWriter) -> bool:
    """Whether the weights to begin or go on with were trained that way; see `SegmentationNetwork`."""
    parent = writer.run.last if writer.run.last.exists() else config.init
    if parent is None:
        return False
    description = checkpoint.load(parent, only=()).description
    return description.rereads_coarsest and set(description.native) == {len(known(config.patch))}


def split_cases(cases: Sequence[Case], config: FinetuneConfig) -> Splits:
    """Split by patient: the held-out test, the validation fold, the rest for training.

    Splits and folds that the data set names are kept; a patient is in one of each.
    """
    patients = sorted({case.patient for case in cases})
    named = {case.patient: case.split for case in cases if case.split}
    holdout = config.holdout if len(patients) >= _FEWEST_TO_HOLD_OUT and not named else 0
    test = {p for p in patients if is_held_out(p, holdout) or named.get(p) == "test"}
    others = [patient for patient in patients if patient not in test]
    if len(others) < 2:
        raise InputError(f"{config.dataset} has cases of {len(patients)} patients; at least 2 are needed")
    folds = {case.patient: case.fold for case in cases if case.fold is not None}
    folds = folds or fold_of(others, min(config.folds, len(others)))
    validation = {patient for patient in others if named.get(patient) == "validation"}
    validation = validation or {patient for patient in others if folds.get(patient) == config.fold}
    if not validation:
        raise InputError(f"fold {config.fold} is empty: there are only {len(others)} patients")
    rest = sorted(set(others) - validation, key=lambda p: zlib.crc32(f"{config.seed}:{p}".encode()))
    training = set(rest[: max(1, round(config.fraction * len(rest)))])
    return {
        "training": [case for case in cases if case.patient in training],
        "validation": [case for case in cases if case.patient in validation],
        "test": [case for case in cases if case.patient in test],
    }


def _saved_splits(writer: RunWriter, cases: Sequence[Case]) -> Splits | None:
    """Return the splits that a resumed run began with, whatever was added to the data set since."""
    if not writer.resumed or not writer.run.manifest_file.exists():
        return None
    by_image = {str(case.image): case for case in cases}
    splits = writer.run.manifest()["splits"]
    missing = [path for paths in splits.values() for path in paths if path not in by_image]
    if missing:
        raise InputError(
            f"{len(missing)} cases of this run are gone, first {missing[0]}; put them back to resume it"
        )
    return {name: [by_image[path] for path in paths] for name, paths in splits.items()}


def _resolve_length(config: FinetuneConfig) -> FinetuneConfig:
    values: dict[str, Any] = {}
    if config.steps == "auto" and config.minutes is None:
        values["steps"] = _STEPS["cuda" if torch.cuda.is_available() else "cpu"]
    if config.checkpoint_every == "auto":
        steps = values.get("steps", config.steps)
        values["checkpoint_every"] = 100 if steps == "auto" else max(10, min(500, steps // 10))
    return FinetuneConfig.build({**config.model_dump(), **values})


def _manifest(
    config: FinetuneConfig,
    splits: Splits,
    prepared: Sequence[PreparedCase],
    labels: dict[int, str],
    transferred: Any,
) -> dict[str, Any]:
    return {
        "task": config.task,
        "seed": config.seed,
        "versions": versions(),
        "labels": labels,
        "splits": {name: [str(case.image) for case in cases] for name, cases in splits.items()},
        "hashes": {str(item.case.image): item.key for item in prepared},
        "weights": None if transferred is None else vars(transferred),
    }
