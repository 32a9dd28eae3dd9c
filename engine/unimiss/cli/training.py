"""``unimiss pretrain`` and ``unimiss finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimiss.errors import InputError
from unimiss.runs import Run
from unimiss.settings import load_yaml, parse_assignments

if TYPE_CHECKING:
    from unimiss.finetuning import FinetuneConfig
    from unimiss.pretraining import PretrainConfig

RunFolder = Annotated[Path, typer.Option("--run", help="Run folder, written to.")]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of config.yaml; repeatable."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings; options override it.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in this folder.")]
Init = Annotated[str | None, typer.Option(help="Where to start: run folder, checkpoint, starter or none.")]
Seed = Annotated[int | None, typer.Option(help="Of every random draw.")]
Devices = Annotated[int | None, typer.Option(help="Processes on each machine.")]
Nodes = Annotated[int | None, typer.Option(help="Machines.")]
Precision = Annotated[str | None, typer.Option(help="auto, 32-true, bf16-mixed or 16-mixed.")]
Steps = Annotated[int | None, typer.Option(help="Optimisation steps.")]
Every = Annotated[int | None, typer.Option(metavar="STEPS", help="Steps between checkpoints.")]


_CHANGEABLE = frozenset(
    {
        "accumulate_2d",
        "accumulate_3d",
        "activation_checkpointing",
        "checkpoint_every",
        "clip",
        "compile",
        "devices",
        "keep_checkpoints",
        "lr",
        "minutes",
        "nodes",
        "patience",
        "precision",
        "probe",
        "signals_every",
        "steps",
        "workers",
    }
)


def _settings(config: Path | None, sets: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Merge file, options and --set, the later the stronger; options that were not given are None."""
    values = load_yaml(config) if config is not None else {}
    values |= {name: value for name, value in options.items() if value not in (None, [])}
    values |= parse_assignments(sets)
    if values.get("init") == "none":
        values["init"] = None
    return values


def _resumed(
    run: Path, kind: type[PretrainConfig | FinetuneConfig], changes: dict[str, Any]
) -> dict[str, Any]:
    """Return the run's own settings, with those changed that may change on the way."""
    values = Run(run).config()
    old = kind.build(values, str(Run(run).config_file))
    new = kind.build(values | changes)
    for name in changes:
        if name not in _CHANGEABLE and _resolved(getattr(new, name)) != _resolved(getattr(old, name)):
            changeable = ", ".join(sorted(_CHANGEABLE & kind.model_fields.keys()))
            raise InputError(f"a resumed run keeps its {name}; what may change is {changeable}")
    return values | changes


def _resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return value.resolve() if isinstance(value, Path) else value


def pretrain(
    run: RunFolder,
    images: Annotated[list[Path], typer.Option(help="Radiographs: files, folders or text lists.")] = [],  # noqa: B006
    volumes: Annotated[list[Path], typer.Option(help="Volumes: files, folders or text lists.")] = [],  # noqa: B006
    network: Annotated[str | None, typer.Option(help="tiny, small or plus.")] = None,
    objective: Annotated[str | None, typer.Option(help="unimiss or unimiss+.")] = None,
    preset: Annotated[str | None, typer.Option(help="auto, paper or demo.")] = None,
    steps: Steps = None,
    init: Init = None,
    seed: Seed = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
    config: ConfigFile = None,
    set_: Sets = [],  # noqa: B006
    checkpoint_every: Every = None,
    resume: Resume = False,
) -> None:
    """Pre-train a backbone on unlabelled radiographs and volumes.

    Example: unimiss pretrain --images xrays/ --volumes scans/ --run runs/pretraining
    """
    from unimiss.devices import keep_freed_memory
    from unimiss.display import Display
    from unimiss.pretraining import PretrainConfig
    from unimiss.pretraining import pretrain as work

    options: dict[str, Any] = {
        "images": images,
        "volumes": volumes,
        "network": network,
        "objective": objective,
        "preset": preset,
        "steps": steps,
        "init": init,
        "seed": seed,
        "devices": devices,
        "nodes": nodes,
        "precision": precision,
        "checkpoint_every": checkpoint_every,
    }
    values = _settings(config, set_, options)
    if resume:
        values = _resumed(run, PretrainConfig, values)
    settings = PretrainConfig.build(values)
    if not settings.activation_checkpointing:  # whoever asks for that has no memory to keep
        keep_freed_memory()
    with Display() as display:
        work(settings, run, resume=resume, listener=display)


def finetune(
    run: RunFolder,
    dataset: Annotated[
        Path | None, typer.Argument(help="Labelled cases: a folder or a list, see docs/datasets.md.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="segmentation or classification.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="auto, or as published: bcv, chaos, ricord, jsrt, chestxr, isic; docs/recipes.md."),
    ] = None,
    init: Init = None,
    network: Annotated[str | None, typer.Option(help="tiny, small or plus, with --init none.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which part of the patients validates.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of the training patients to use.")] = None,
    steps: Steps = None,
    minutes: Annotated[float | None, typer.Option(help="Bound on the training's wall-clock.")] = None,
    seed: Seed = None,
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
    config: ConfigFile = None,
    set_: Sets = [],  # noqa: B006
    checkpoint_every: Every = None,
    resume: Resume = False,
) -> None:
    """Fine-tune a network on labelled cases.

    Example: unimiss finetune Task04_Hippocampus --init runs/pretraining --run runs/hippocampus
    """
    from unimiss.devices import keep_freed_memory
    from unimiss.display import Display
    from unimiss.finetuning import FinetuneConfig
    from unimiss.finetuning import finetune as work

    options: dict[str, Any] = {
        "dataset": dataset,
        "task": task,
        "recipe": recipe,
        "init": init,
        "network": network,
        "fold": fold,
        "fraction": fraction,
        "steps": steps,
        "minutes": minutes,
        "seed": seed,
        "devices": devices,
        "nodes": nodes,
        "precision": precision,
        "checkpoint_every": checkpoint_every,
    }
    values = _settings(config, set_, options)
    if resume:
        values = _resumed(run, FinetuneConfig, values)
    settings = FinetuneConfig.build(values)
    if not settings.activation_checkpointing:  # as above
        keep_freed_memory()
    with Display() as display:
        work(settings, run, resume=resume, listener=display)
