"""A pre-training from settings to finished run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unimiss.data.cache import Cache
from unimiss.devices import refuse_uneven, versions
from unimiss.errors import InputError
from unimiss.models import checkpoint
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.finding import find_trainable
from unimiss.pretraining.order import weight
from unimiss.pretraining.prepare import Frame, Prepared, median_grid, prepare_all
from unimiss.pretraining.probe import Probe
from unimiss.pretraining.resolve import resolve_schedule, resolve_sizes
from unimiss.pretraining.train import train
from unimiss.runs import Run
from unimiss.runs.writer import Listener, RunWriter
from unimiss.settings import known
from unimiss.training import carry_out

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def pretrain(
    config: PretrainConfig, run: Path | str, *, resume: bool = False, listener: Listener | None = None
) -> Run:
    """Pre-train a backbone on radiographs and volumes.

    Parameters
    ----------
    config : PretrainConfig
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
        Settings, images or folder cannot be used.
    JobError
        The training failed on its way.
    """
    return carry_out(_pretrain, config, run, resume=resume, listener=listener)


def _pretrain(config: PretrainConfig, writer: RunWriter, fabric: Fabric) -> str | None:
    cache = Cache()
    config = _take_network(config, writer)
    config, images, volumes, held = _find(config, writer)
    grid = median_grid(volumes) if volumes else None
    config, reasons = resolve_sizes(config, len(images), len(volumes), grid, fabric.world_size)
    refuse_uneven(config.batch_2d if config.images else 0, fabric.world_size)
    refuse_uneven(config.batch_3d if config.volumes else 0, fabric.world_size)
    probe = _read_probe(config, writer)

    def report(share: float) -> None:
        writer.stage(f"preparing images, {share:.0%}")

    with fabric.rank_zero_first():
        flat = prepare_all(images, None, cache, report, writer.warn)
        deep = prepare_all(
            volumes,
            known(config.spacing),
            cache,
            report,
            writer.warn,
            known(config.drr_views),
            _frame(config),
        )
    ready_2d = flat.cases
    ready_3d = [_weighted(case, cache, config) for case in deep.cases]
    if writer.resumed and len(ready_2d) + len(ready_3d) < len(images) + len(volumes):
        raise InputError("images of this run are gone or damaged (see above); put them back to resume it")
    config, more = resolve_schedule(
        config, sum(case.weight for case in ready_2d), sum(case.weight for case in ready_3d)
    )
    if writer.resumed:
        writer.save_config(config.model_dump(mode="json"))
        _tell_changed(ready_2d + ready_3d, writer)
        finished = train(config, ready_2d, ready_3d, cache, probe, writer, fabric)
        return "pre-trained" if finished else None
    writer.save_manifest(
        {
            "task": "pretraining",
            "seed": config.seed,
            "versions": versions(),
            "auto": reasons | more,
            "images": [{"image": str(case.path), "hash": case.key} for case in ready_2d],
            "volumes": [{"image": str(case.path), "hash": case.key} for case in ready_3d],
            "held_out": held,
            "left_out": [
                {"image": str(path), "reason": reason}
                for path, reason in (flat.left_out | deep.left_out).items()
            ],
        }
    )
    writer.save_config(config.model_dump(mode="json"))  # last: a folder with it can be resumed
    finished = train(config, ready_2d, ready_3d, cache, probe, writer, fabric)
    return "pre-trained" if finished else None


def _frame(config: PretrainConfig) -> Frame:
    return Frame(known(config.central_crop), known(config.crop_above), known(config.least_plane))


def _weighted(case: Prepared, cache: Cache, config: PretrainConfig) -> Prepared:
    shape = cache.open(case.key, "image").shape[1:]
    return replace(case, weight=weight(shape, known(config.size_3d), known(config.weighting)))


def _read_probe(config: PretrainConfig, writer: RunWriter) -> Probe | None:
    if config.probe is None:
        return None
    return Probe.read(config.probe, known(config.size_2d), config.holdout, writer.warn)


def _tell_changed(cases: list[Prepared], writer: RunWriter) -> None:
    """Say which images of a resumed run are others than those that it began with."""
    manifest = writer.run.manifest()
    known_keys = {entry["hash"] for kind in ("images", "volumes") for entry in manifest[kind]}
    changed = [case.path for case in cases if case.key not in known_keys]
    if changed:
        writer.warn(
            f"{len(changed)} images were changed or moved since this run began, first {changed[0]}; "
            "it goes on with them as they are now"
        )


def _take_network(config: PretrainConfig, writer: RunWriter) -> PretrainConfig:
    """Build the network that `init` holds, whatever its size; refuse what is no backbone before any work."""
    if config.init is None or writer.resumed:
        return config
    description = checkpoint.load(config.init, only=()).description
    if description.kind != "backbone":
        raise InputError(f"{config.init} is a {description.kind} model; pre-training starts from a backbone")
    if "network" in config.model_fields_set:
        description.refuse_other(config.network)
    return config.model_copy(update={"network": description.network})


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
    places = {
        "images": [p.resolve() for p in config.images],
        "volumes": [p.resolve() for p in config.volumes],
    }
    found = find_trainable(
        places["images"],
        places["volumes"],
        config.holdout,
        writer.warn,
        lambda text: writer.event("progress", done=0.0, stage=text),
    )
    update = {
        "images": places["images"] if found.images else [],
        "volumes": places["volumes"] if found.volumes else [],
        "init": config.init and checkpoint.absolute(config.init),
    }
    held = [str(path) for path in found.held_out]
    return config.model_copy(update=update), found.images, found.volumes, held
