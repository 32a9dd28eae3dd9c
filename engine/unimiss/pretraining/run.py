"""A pre-training from settings to finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unimiss.data.cache import Cache
from unimiss.data.cases import find_images
from unimiss.devices import make_fabric, versions
from unimiss.errors import InputError
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.loop import train
from unimiss.pretraining.prepare import keep_trainable, median_grid, prepare_all
from unimiss.pretraining.resolve import resolve_schedule, resolve_sizes
from unimiss.runs import Run
from unimiss.runs.writer import Listener, RunWriter
from unimiss.settings import known

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def pretrain(
    config: PretrainConfig, run: Path | str, *, resume: bool = False, listener: Listener | None = None
) -> Run:
    """Pre-train a backbone on radiographs and volumes.

    Parameters
    ----------
    config : PretrainConfig
        Settings; on resuming, those of the run folder are used instead.
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
        Settings, images or folder cannot be used.
    JobError
        The training failed on its way.
    """
    folder = Run(run)
    if resume:
        config = PretrainConfig.build(folder.config(), str(folder.config_file))
    fabric = make_fabric(config.devices, config.nodes, config.precision)
    with RunWriter(run, resume=resume, listener=listener, active=fabric.is_global_zero) as writer:
        if _pretrain(config, writer, fabric):
            writer.event("finished", message=f"pre-trained; the model is {run}")
        else:
            writer.event("stopped", message="stopped with a checkpoint; --resume goes on")
    return folder


def _pretrain(config: PretrainConfig, writer: RunWriter, fabric: Fabric) -> bool:
    cache = Cache()
    config, images, volumes, held = _find(config, writer)
    writer.save_config(config.model_dump(mode="json"))
    grid = median_grid(volumes) if volumes else None
    config, reasons = resolve_sizes(config, len(images), len(volumes), grid)

    def report(share: float) -> None:
        writer.progress(0.0, stage=f"preparing images, {share:.0%}")

    with fabric.rank_zero_first():
        ready_2d = prepare_all(images, None, cache, report, writer.warn)
        ready_3d = prepare_all(volumes, known(config.spacing), cache, report, writer.warn)
    config, more = resolve_schedule(config, len(ready_2d), len(ready_3d))
    writer.save_config(config.model_dump(mode="json"))
    writer.save_manifest(
        {
            "task": "pretraining",
            "seed": config.seed,
            "versions": versions(),
            "auto": reasons | more,
            "images": [{"image": str(case.path), "hash": case.key} for case in ready_2d],
            "volumes": [{"image": str(case.path), "hash": case.key} for case in ready_3d],
            "held_out": held,
        }
    )
    return train(config, ready_2d, ready_3d, cache, writer, fabric)


def _find(
    config: PretrainConfig, writer: RunWriter
) -> tuple[PretrainConfig, list[Path], list[Path], list[str]]:
    """Find the files to train on: all but held-out patients', or those that a resumed run began with."""
    if writer.resumed and writer.run.manifest_file.exists():
        manifest = writer.run.manifest()
        images, volumes = (
            [Path(entry["image"]) for entry in manifest[kind]] for kind in ("images", "volumes")
        )
        return config, images, volumes, manifest["held_out"]
    images, held_images = keep_trainable(find_images(config.images), config.holdout)
    volumes, held_volumes = keep_trainable(find_images(config.volumes), config.holdout)
    if not images and not volumes:
        raise InputError("every image belongs to a held-out patient; --set holdout=0 trains on all of them")
    update = {
        "images": [path.resolve() for path in config.images] if images else [],
        "volumes": [path.resolve() for path in config.volumes] if volumes else [],
    }
    held = [str(path.resolve()) for path in held_images + held_volumes]
    return config.model_copy(update=update), images, volumes, held
