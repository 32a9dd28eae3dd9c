"""Several models that decide together."""

from __future__ import annotations

from pathlib import Path

from unimiss.errors import InputError
from unimiss.inference.member import MakeNetwork, Member
from unimiss.models import checkpoint
from unimiss.runs import Run


def load_members(model: Path | str, network: MakeNetwork | None) -> list[Member]:
    """Load the model that a MODEL argument means, or all of a folder that holds several run folders.

    `network` makes another network than the described one.

    Raises
    ------
    InputError
        There is no such model, a run of several has no checkpoint yet, or they do not fit together.
    """
    members = [Member(one, network) for one in _models(model)]
    for other in members[1:]:
        _refuse_other(members[0], other)
    return members


def _models(model: Path | str) -> list[Path | str]:
    folder = Path(model)
    if str(model) == checkpoint.STARTER or not folder.is_dir() or _has_checkpoint(folder):
        return [model]
    if Run(folder).exists():
        return [model]
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    runs = [path for path in inside if _is_run(path)]
    deeper = next((p for p in inside if p not in runs and any(map(_is_run, p.glob("*")))), None)
    if deeper is not None:
        raise InputError(
            f"{folder} holds runs in {deeper.name}; name {deeper}, or put all runs that decide together "
            "directly into one folder"
        )
    if len(runs) == 1:
        raise InputError(f"{folder} holds 1 run; name it: {runs[0]}")
    if not runs:
        return [model]
    for run in runs:
        if not _has_checkpoint(run):
            raise InputError(
                f"{folder} holds {len(runs)} runs, and {run.name} has no checkpoint yet; "
                "let it train for longer, or move it elsewhere"
            )
    return list(runs)


def _is_run(path: Path) -> bool:
    return Run(path).exists() or _has_checkpoint(path)


def _has_checkpoint(path: Path) -> bool:
    run = Run(path)
    return run.best.exists() or run.last.exists()


def _refuse_other(first: Member, other: Member) -> None:
    """Raise a sentence about the first thing in which two models do not fit together."""
    ours, theirs = (
        {
            "task": one.description.kind,
            "classes": one.description.labels,
            "overlapping classes": one.description.overlapping,
            "spatial axes": one.preprocessing.dimension,
            "channels": one.preprocessing.channels,
            "files of a case": one.preprocessing.files,
        }
        for one in (first, other)
    )
    for what, value in ours.items():
        if value != theirs[what]:
            raise InputError(
                f"{first.name} and {other.name} cannot decide together: they differ in {what} "
                f"({value} and {theirs[what]}); keep models of one data set in a folder"
            )
