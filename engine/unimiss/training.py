"""What both trainings share: common settings, and the way from settings to an ended run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import Field

from unimiss.devices import Precision, make_fabric, refuse_to_compile
from unimiss.errors import Stopped
from unimiss.runs import Run
from unimiss.runs.writer import Listener, RunWriter, refuse_folder
from unimiss.settings import Auto, Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Positive = Annotated[int, Field(gt=0)]


class TrainingSettings(Settings):
    """Settings of any training.

    Attributes
    ----------
    seed : int
        Of every random draw.
    devices, nodes : int
        Processes on each machine, and machines.
    precision : str
        As Lightning Fabric names it.
    activation_checkpointing : bool
        Compute activations again in the backward pass instead of keeping them: less memory, a third slower.
    compile : bool
        Compile the network; needs a C++ compiler on a CPU, and takes a minute at the first step.
    checkpoint_every : int
        Steps between checkpoints.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    devices: Positive = 1
    nodes: Positive = 1
    precision: Precision = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    checkpoint_every: Positive | Auto = "auto"


S = TypeVar("S", bound=TrainingSettings)


def carry_out(
    work: Callable[[S, RunWriter, Fabric], str | None],
    config: S,
    run: Path | str,
    *,
    resume: bool,
    listener: Listener | None,
) -> Run:
    """Do a training's work in its run folder, and record how it ended.

    Parameters
    ----------
    work : callable
        The training; says in the past tense what it did, or None where it was stopped on its way.
    config : TrainingSettings
        Its settings.
    run : path
        Run folder, new or to be resumed.
    resume : bool
        Go on with the run in that folder.
    listener : callable or None
        Receives every event.
    """
    folder = Run(run)
    refuse_folder(folder, resume)
    if config.compile:
        refuse_to_compile()
    fabric = make_fabric(config.devices, config.nodes, config.precision)
    with RunWriter(run, resume=resume, listener=listener, active=fabric.is_global_zero) as writer:
        try:
            done = work(config, writer, fabric)
        except Stopped as stop:
            writer.event("stopped", message=str(stop))
        else:
            if done is not None:
                writer.event("finished", message=f"{done}; the model is {run}")
            else:
                writer.event("stopped", message="stopped with a checkpoint; --resume goes on")
    return folder
