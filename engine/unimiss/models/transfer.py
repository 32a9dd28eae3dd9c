"""Trained weights into another network, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unimiss.models.position import PositionTables, resize_table

_TABLE = ".position.tables."
_FIRST = "encoder.stem.0."
_OF_THE_TASK = ("head.", "deep_heads.", "pixels.")


@dataclass
class TransferReport:
    """What became of each tensor, by name.

    Attributes
    ----------
    loaded : list of str
        Taken as they are.
    resized : list of str
        Position tables resized as grids, first convolutions adapted to the number of channels.
    new : list of str
        Left as they were initialised: the source has nothing for them.
    unused : list of str
        In the source only.
    """

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def add_head(self, head: nn.Module, given: Mapping[str, Tensor]) -> None:
        """Load a projection head too, where the source has one of the same size."""
        names = [f"head.{name}" for name in given]
        if {name: tensor.shape for name, tensor in head.state_dict().items()} == {
            name: tensor.shape for name, tensor in given.items()
        }:
            head.load_state_dict(dict(given))
            self.loaded += names
        else:
            self.unused += names

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded", f"{len(self.resized)} resized", f"{len(self.new)} new"]
        return f"{', '.join(parts)}, {len(self.unused)} of the source unused"


def transfer(network: nn.Module, source: nn.Module) -> TransferReport:
    """Load trained weights into a network that has an encoder, and perhaps a decoder, like it.

    Parameters
    ----------
    network : Module
        Changed in place; may be built for one dimension, without class token or decoder, for other grids and
        channels.
    source : Module
        A backbone, or the network of another task; the last layers, which belong to its task, stay there.

    Returns
    -------
    TransferReport
        What was loaded, resized, left new and left over.
    """
    report = TransferReport()
    given = dict(source.state_dict())
    tables = {name: m for name, m in network.named_modules() if isinstance(m, PositionTables)}
    old_tables = {name: m for name, m in source.named_modules() if isinstance(m, PositionTables)}
    state = network.state_dict()
    for name, tensor in state.items():
        old = None if name.startswith(_OF_THE_TASK) else given.pop(name, None)
        if old is None:
            report.new.append(name)
        elif _TABLE in name and old.shape[-1] == tensor.shape[-1]:
            stage, _, dimension = name.partition(_TABLE)
            d = int(dimension[0])
            new_grid = tables[f"{stage}.position"].native[d]
            old_grid = old_tables[f"{stage}.position"].native[d]
            fitted = _fit_table(old, old_grid, new_grid, tensor.shape[1])
            (report.loaded if fitted is old else report.resized).append(name)
            state[name] = fitted
        elif old.shape == tensor.shape:
            report.loaded.append(name)
            state[name] = old
        elif name.startswith(_FIRST) and old[:, 0].shape == tensor[:, 0].shape:
            report.resized.append(name)
            state[name] = _fit_channels(old, tensor.shape[1])
        else:
            report.new.append(name)
            given[name] = old
    network.load_state_dict(state)
    report.unused = list(given)
    return report


def _fit_table(table: Tensor, old: tuple[int, ...], new: tuple[int, ...], entries: int) -> Tensor:
    """Resize a table as a grid, and drop its class entry where the new network has no class token."""
    resized = resize_table(table, old, new)
    return resized if resized.shape[1] == entries else resized[:, resized.shape[1] - entries :]


def _fit_channels(kernel: Tensor, channels: int) -> Tensor:
    """Spread a first convolution over another number of input channels; equal inputs give equal outputs."""
    mean = kernel.sum(dim=1, keepdim=True) / channels
    return torch.cat([mean] * channels, dim=1)
