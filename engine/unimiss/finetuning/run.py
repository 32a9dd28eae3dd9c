"""A fine-tuning from settings to finished run folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unimiss.data.cache import Cache
from unimiss.data.datasets import Dataset, Kind, open_dataset
from unimiss.data.preprocessing import Preprocessing
from unimiss.devices import refuse_uneven, versions
from unimiss.errors import InputError
from unimiss.finetuning.classification import Classification
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.grids import read_grids, resized_spacing
from unimiss.finetuning.loop import Finetuning
from unimiss.finetuning.prepare import PreparedCase, fit_intensity, prepare_cases
from unimiss.finetuning.recipes import class_names, patch_of
from unimiss.finetuning.segmentation import Segmentation
from unimiss.finetuning.splits import Splits, saved_splits, split_cases
from unimiss.finetuning.task import Material, Task
from unimiss.finetuning.train import train
from unimiss.geometry import Geometry
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.transfer import transfer
from unimiss.runs import Run
from unimiss.runs.writer import Listener, RunWriter
from unimiss.settings import known
from unimiss.training import carry_out

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_STEPS = {"cpu": 2_000, "cuda": 25_000}
_TASKS: dict[Kind, type[Task]] = {"segmentation": Segmentation, "classification": Classification}


def finetune(
    config: FinetuneConfig,
    run: Path | str,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    network: Callable[[Description], nn.Module] | None = None,
) -> Run:
    """Train a network for a task on labelled cases.

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
    network : callable, optional
        Makes another network than MiT, which is then trained in the same way from weights of its own, to
        compare with. The run's checkpoints hold it under MiT's description; give it to `Predictor` too.

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
    if network is not None and config.init is not None:
        raise InputError(f"init: {config.init} holds weights of MiT; begin another network from none")
    work = partial(_finetune, make=network)
    return carry_out(work, config, run, resume=resume, listener=listener)


def _finetune(
    config: FinetuneConfig,
    writer: RunWriter,
    fabric: Fabric,
    *,
    make: Callable[[Description], nn.Module] | None,
) -> str | None:
    config, source = _with_weights(config, writer)
    dataset, task = _open(config, writer)
    splits = saved_splits(writer, dataset) or split_cases(dataset.cases, config, writer.warn)
    task.check_splits(splits, dataset)
    used = splits["training"] + splits["validation"]
    grids = read_grids(used, config.dataset)
    config = _resolve(config, task, grids, fabric.world_size)
    refuse_uneven(config.batch_size, fabric.world_size)
    cache = Cache()

    def report(share: float) -> None:
        writer.stage(f"preparing cases, {share:.0%}")

    with fabric.rank_zero_first():
        prepared, storing = prepare_cases(used, config, dataset, cache, report, writer.warn)
    training, validation = _sides(prepared, splits, config)
    config = _resolve_length(config, len(training))
    preprocessing = fit_intensity(storing, training, cache)
    description = _describe(config, dataset, preprocessing, _rereads_coarsest(config, writer))
    spacing = preprocessing.spacing or resized_spacing(grids, known(config.patch))
    material = Material(training, validation, description, spacing, partial=bool(dataset.unknown))
    learning = task(config, material, cache)
    torch.manual_seed(config.seed)
    network = make(description) if make else description.make_network(config.drop_path)
    transferred = None if source is None else transfer(network, source.network())
    if transferred is not None:
        writer.progress(0.0, stage=f"weights: {transferred}")
    if not writer.resumed:
        writer.save_manifest(_manifest(config, splits, prepared, dataset.labels, transferred))
    else:
        _tell_changed(prepared, writer)
    writer.save_config(config.model_dump(mode="json"))  # last: a folder with it can be resumed
    return train(Finetuning(config, network, learning, fabric), writer)


def _with_weights(config: FinetuneConfig, writer: RunWriter) -> tuple[FinetuneConfig, Checkpoint | None]:
    """Name files for good, and read the weights to begin with; a resumed run has its own."""
    begins = config.init and checkpoint.absolute(config.init)
    config = config.model_copy(update={"dataset": config.dataset.resolve(), "init": begins})
    if config.init is None or writer.run.last.exists():
        return config, None
    source = checkpoint.load(config.init)
    if "network" in config.model_fields_set:
        source.description.refuse_other(config.network)
    return config.model_copy(update={"network": source.description.network}), source


def _open(config: FinetuneConfig, writer: RunWriter) -> tuple[Dataset, type[Task]]:
    """Check the data set, and that it is one for the task."""
    dataset = open_dataset(
        config.dataset,
        names=class_names(config.recipe),
        labels=config.labels,
        ignore=config.ignore,
        accept=config.accept,
        report=lambda share: writer.stage(f"checking the data set, {share:.0%}"),
        warn=writer.warn,
    )
    if dataset.kind != config.task:
        raise InputError(f"{config.dataset} is a data set for {dataset.kind}, and the task is {config.task}")
    task = _TASKS[config.task]
    task.check(dataset, config)
    return dataset, task


def _sides(
    prepared: Sequence[PreparedCase], splits: Splits, config: FinetuneConfig
) -> tuple[list[PreparedCase], list[PreparedCase]]:
    """Tell training and validation apart, each with at least one case that could be prepared."""
    learned = set(splits["training"])
    training = [item for item in prepared if item.case in learned]
    validation = [item for item in prepared if item.case not in learned]
    if not training or not validation:
        used = len(learned) + len(splits["validation"])
        raise InputError(
            f"{config.dataset}: training and validation need one usable case each; "
            f"{used - len(prepared)} of {used} cases were left out"
        )
    return training, validation


def _describe(
    config: FinetuneConfig, dataset: Dataset, preprocessing: Preprocessing, rereads_coarsest: bool
) -> Description:
    native = known(config.patch)
    return Description(
        kind=config.task,
        network=config.network,
        native={len(native): native},
        channels={len(native): preprocessing.channels},
        rereads_coarsest=rereads_coarsest,
        labels=dataset.labels,
        overlapping=dataset.overlapping,
        preprocessing=preprocessing,
        objective=config.task,
        step=0,
        provenance={"versions": versions(), "seed": config.seed, "dataset": dataset.name},
    )


def _rereads_coarsest(config: FinetuneConfig, writer: RunWriter) -> bool:
    """Whether the weights to begin or go on with were trained that way; see `SegmentationNetwork`."""
    parent = writer.run.last if writer.run.last.exists() else config.init
    if parent is None:
        return False
    description = checkpoint.load(parent, only=()).description
    return description.rereads_coarsest and set(description.native) == {len(known(config.patch))}


def _resolve(
    config: FinetuneConfig, task: type[Task], grids: Sequence[Geometry], processes: int
) -> FinetuneConfig:
    """Choose what is "auto", for the images and the device; processes share a batch evenly."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = dict(task.resolve(config, grids, device))
    values["batch_size"] = -(-values["batch_size"] // processes) * processes
    axes = grids[0].ndim
    if config.patch != "auto" and len(config.patch) != axes:
        whose = f" of the recipe {config.recipe}" if config.patch == patch_of(config.recipe) else ""
        raise InputError(f"patch = {list(config.patch)}{whose} does not fit: the images have {axes} axes")
    auto = {name: value for name, value in values.items() if getattr(config, name) == "auto"}
    return FinetuneConfig.build({**config.model_dump(), **auto})


def _resolve_length(config: FinetuneConfig, cases: int) -> FinetuneConfig:
    """Turn passes over the training cases into steps; choose steps where nothing says how long."""
    values: dict[str, Any] = {"epochs": None}
    steps = config.steps
    if config.epochs is not None:
        steps = max(1, math.ceil(config.epochs * cases / known(config.batch_size)))
    elif steps == "auto" and config.minutes is None:
        steps = _STEPS["cuda" if torch.cuda.is_available() else "cpu"]
    values["steps"] = steps
    if config.checkpoint_every == "auto":
        values["checkpoint_every"] = 100 if steps == "auto" else max(10, min(500, steps // 10))
    return FinetuneConfig.build({**config.model_dump(), **values})


def _tell_changed(prepared: Sequence[PreparedCase], writer: RunWriter) -> None:
    """Say which cases of a resumed run are others than those that it began with; refuse to do without one."""
    hashes = writer.run.manifest()["hashes"]
    if len(prepared) < len(hashes):
        raise InputError("cases of this run are gone or damaged (see above); put them back to resume it")
    changed = [item.case.image for item in prepared if hashes.get(str(item.case.image)) != item.key]
    if changed:
        writer.warn(
            f"{len(changed)} images or their masks were changed since this run began, first {changed[0]}; "
            "it goes on with them as they are now"
        )


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
