"""Checkpoints that describe themselves: one safetensors file with its description in the header."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unimiss.data.preprocessing import Preprocessing
from unimiss.errors import InputError
from unimiss.models.backbone import Backbone
from unimiss.models.classification import ClassificationNetwork
from unimiss.models.presets import INPUT_CHANNELS, Network
from unimiss.models.segmentation import SegmentationNetwork
from unimiss.runs import Run, atomic
from unimiss.settings import Settings

STARTER = "starter"
"""Name of the weights that come with the package; see `bundled/starter.md`."""

_BUNDLED = Path(__file__).parent / "bundled"
_HEADER = "unimiss"
_MOST_VOXELS = 2**26  # of a native size: its position tables then take 0.4 GiB, and 1.1 GiB in MiT+
Size = Annotated[int, Field(gt=0, le=4096)]
Channels = Annotated[int, Field(gt=0, le=64)]


class Description(Settings):
    """What a checkpoint holds and how to use it.

    Attributes
    ----------
    kind : "backbone", "segmentation" or "classification"
        Which network the tensors called ``network.…`` belong to.
    network : "tiny", "small" or "plus"
        Size of MiT.
    native : dict of int to tuple of int
        Input size that the position tables of each dimension are made for; the patch of a segmentation.
    channels : dict of int to int
        Input channels of each dimension; where none are named, the published ones.
    reconstruction, deep_supervision, rereads_coarsest : bool
        As in `Backbone` and `SegmentationNetwork`.
    labels : dict of int to str
        Label values and names in the order of the classes; of a segmentation background first. Where its
        classes overlap they are numbered from 1, as their channels in a mask are.
    overlapping : bool
        Whether an image, or a voxel, may have several classes or none; else it has exactly one.
    preprocessing : Preprocessing or None
        What prediction does to an image, exactly as training did.
    objective : str
        What the network was trained by.
    step : int
        Steps done.
    provenance : dict
        Versions, seed, parent checkpoint, data set: for the reader, never for the program.
    training : dict
        What the training loop needs to go on.
    """

    format: Literal[2] = 2  # 1 had other names for the tensors
    kind: Literal["backbone", "segmentation", "classification"]
    network: Network
    native: dict[int, tuple[Size, ...]]
    channels: dict[int, Channels] = {}
    reconstruction: bool = False
    deep_supervision: bool = True
    rereads_coarsest: bool = False
    labels: dict[int, str] = {}
    overlapping: bool = False
    preprocessing: Preprocessing | None = None
    objective: str
    step: int
    provenance: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _can_be_built(self) -> Description:
        """Refuse what would not fit any network, before memory is asked for."""
        for dimension, size in self.native.items():
            if dimension not in (2, 3) or len(size) != dimension or math.prod(size) > _MOST_VOXELS:
                raise ValueError(f"native size {size} of dimension {dimension} is impossible")
        if not self.native or not set(self.channels) <= set(self.native):
            raise ValueError("channels and native sizes are those of the dimensions that were built")
        if self.kind != "backbone" and len(self.native) != 1:
            raise ValueError(f"a {self.kind} has one dimension")
        if self.kind == "segmentation" and not 2 <= len(self.labels) <= 256:
            raise ValueError("a segmentation has 2 to 256 labels, background included")
        counted = list(self.labels) == [*range(len(self.labels))]
        if self.kind == "segmentation" and self.overlapping and not counted:
            raise ValueError("overlapping classes are numbered from 1, after the background")
        if self.kind == "backbone" and self.overlapping:
            raise ValueError("a backbone has no classes that could overlap")
        if self.kind == "classification" and not 1 <= len(self.labels) <= 65536:
            raise ValueError("a classification has 1 to 65536 labels")
        if any(not 0 <= value <= 65535 for value in self.labels):
            raise ValueError("label values go from 0 to 65535")
        return self

    def refuse_other(self, network: Network) -> None:
        """Raise an `InputError` if these are the weights of another network than was asked for."""
        if network != self.network:
            raise InputError(
                f"network: {network} was asked for, but the weights to start from are of a {self.network}; "
                f"leave it out, name the model of a {network} with --init, or begin anew with --init none"
            )

    @property
    def classes(self) -> int:
        """Channels of the network's scores: overlapping classes have none for the background."""
        return len(self.labels) - (self.kind == "segmentation" and self.overlapping)

    def make_network(self, drop_path: float = 0.0) -> nn.Module:
        """Make the network that is described, untrained; `drop_path` is its encoder's stochastic depth."""
        channels = {d: self.channels.get(d, INPUT_CHANNELS[d]) for d in self.native}
        if self.kind == "backbone":
            return Backbone(
                self.network, self.native, channels, reconstruction=self.reconstruction, drop_path=drop_path
            )
        ((d, native),) = self.native.items()
        if self.kind == "classification":
            return ClassificationNetwork(self.network, channels[d], self.classes, native, drop_path=drop_path)
        return SegmentationNetwork(
            self.network,
            channels[d],
            self.classes,
            native,
            deep_supervision=self.deep_supervision,
            rereads_coarsest=self.rereads_coarsest,
            drop_path=drop_path,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes
    ----------
    description : Description
        What it holds.
    tensors : mapping of str to Tensor
        ``network.…`` and whatever the training loop keeps for going on.
    """

    description: Description
    tensors: Mapping[str, Tensor]

    def save(self, path: Path) -> None:
        """Write the file; it appears complete or not at all."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        header = {_HEADER: self.description.model_dump_json()}
        atomic.write(path, lambda temporary: save_file(tensors, temporary, metadata=header))

    @classmethod
    def load(cls, path: Path, only: str | tuple[str, ...] = "") -> Checkpoint:
        """Read a checkpoint's description and the tensors whose names begin with `only`.

        Raises
        ------
        InputError
            The file is missing, damaged, or not a checkpoint of this project.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get(_HEADER)
                if header is None:
                    raise InputError(f"{path} is a safetensors file but not a model of this project")
                description = Description.model_validate_json(header)
                tensors = {name: file.get_tensor(name) for name in list(file.keys()) if name.startswith(only)}
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            if where == "format":
                raise InputError(f"{path} is a model of another version of this project") from error
            raise InputError(f"{path} is a model whose description is damaged at '{where}'") from error
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is damaged or is not a model of this project") from error
        return cls(description, tensors)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below ``prefix.``, by the rest of their names."""
        return {
            n.removeprefix(f"{prefix}."): t for n, t in self.tensors.items() if n.startswith(f"{prefix}.")
        }

    def network(self, untrained: nn.Module | None = None) -> nn.Module:
        """Return the trained network in evaluation mode.

        Parameters
        ----------
        untrained : Module, optional
            Takes the weights, where they are those of another network than the described one.

        Raises
        ------
        InputError
            The tensors do not fit the description.
        """
        network = untrained
        if network is None:
            with torch.device("meta"):  # no time for first weights that are replaced at once
                network = self.description.make_network()
        try:
            weights = {
                name: (tensor.float() if tensor.is_floating_point() else tensor).clone()
                for name, tensor in self.part("network").items()
            }
            network.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise InputError(f"the model's weights do not fit its description: {error}") from error
        return network.eval()


def keep_copy(last: Path, step: int, kept: int) -> None:
    """Keep the checkpoint `last` as ``step-…`` beside it too, and of those only the newest `kept`."""
    if kept:
        copy = last.with_name(f"step-{step:08d}")
        copy.unlink(missing_ok=True)
        try:
            os.link(last, copy)  # `last` is replaced, never changed, so both may be one file for now
        except OSError:  # a file system without links
            atomic.write(copy, lambda temporary: shutil.copyfile(last, temporary))
    for old in sorted(last.parent.glob("step-*"))[: -kept or None]:
        old.unlink()


def find(model: Path | str) -> Path:
    """Return the checkpoint that a MODEL argument means.

    Parameters
    ----------
    model : path
        A run folder (its best checkpoint, else its last), a checkpoint file, or "starter". (A file of that
        name is ``./starter``.)

    Raises
    ------
    InputError
        There is none.
    """
    if str(model) == STARTER:
        return _BUNDLED / f"{STARTER}.safetensors"
    path = Path(model)
    if path.is_dir():
        run = Run(path)
        found = next((file for file in (run.best, run.last) if file.exists()), None)
        if found is None:
            raise InputError(f"{path} holds no checkpoint yet; a run folder has one in checkpoints/")
        return found
    if not path.exists():
        raise InputError(
            f"{path}: there is no such model; name a run folder, a checkpoint file, or {STARTER}"
        )
    return path


def absolute(model: Path) -> Path:
    """Return a MODEL argument that means the same from any folder."""
    return model if str(model) == STARTER else model.resolve()


def load(model: Path | str, only: str | tuple[str, ...] = "network.") -> Checkpoint:
    """Read the checkpoint that a MODEL argument means; see `find`."""
    return Checkpoint.load(find(model), only)
