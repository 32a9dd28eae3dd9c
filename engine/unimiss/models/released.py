"""The networks of the official UniMiSS and UniMiSS+ release, by its own parameter names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from unimiss.errors import InputError
from unimiss.models.backbone import Backbone
from unimiss.models.classification import ClassificationNetwork
from unimiss.models.head import ProjectionHead
from unimiss.models.presets import INPUT_CHANNELS, PRESETS, Shape
from unimiss.models.release_names import VARIANTS, release_names
from unimiss.models.segmentation import SegmentationNetwork

Native = Mapping[int, Shape]

_NATIVE: dict[int, tuple[Shape, ...]] = {
    2: ((224, 224), (96, 96)),
    3: ((16, 96, 96), (48, 192, 192), (64, 128, 128)),
}
"""Input sizes that the release's settings name; a table's length alone does not tell its grid."""


@dataclass(frozen=True)
class Sizes:
    """What a variant leaves open, and a state dict tells.

    Attributes
    ----------
    native : mapping of int to tuple of int
        Input size of each dimension that the position tables are made for.
    channels : mapping of int to int
        Input channels of each dimension.
    classes : int
        Outputs of the last layer; 0 for a backbone.
    """

    native: Native
    channels: Mapping[int, int]
    classes: int


GAIN, _DIRECTION = "last_layer.weight_g", "last_layer.weight_v"


class Released(nn.Module):
    """A network of the release: our parts, its names.

    Parameters
    ----------
    variant : str
        One of `VARIANTS`.
    sizes : Sizes
        Of this one.
    network : Module
        Our network.
    """

    def __init__(self, variant: str, sizes: Sizes, network: nn.Module) -> None:
        super().__init__()
        self.variant = variant
        self.sizes = sizes
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Give every output that the release's network has, by its name there."""
        network, names = self.network, VARIANTS[self.variant].outputs
        if isinstance(network, Backbone) and network.reconstructs:
            return dict(zip(names, network.reconstruct(x), strict=True))
        if isinstance(network, SegmentationNetwork):
            return dict(zip(names, network.levels(x), strict=True))
        return {names[0]: network(x)}

    def release_state_dict(self) -> dict[str, Tensor]:
        """Return the weights by the release's names, for its own code."""
        names = release_names(self.variant, self.network.state_dict())
        state = {names[ours]: tensor for ours, tensor in self.network.state_dict().items()}
        if self.variant == "projection_head":
            state[GAIN] = torch.ones(state[_DIRECTION].shape[0], 1)
        return state


def network(variant: str, state_dict: Mapping[str, Tensor], native: Native | None = None) -> Released:
    """Build a network of the release from its weights.

    Parameters
    ----------
    variant : str
        One of `VARIANTS`.
    state_dict : mapping of str to Tensor
        By the release's names; every one must be there, and no other.
    native : mapping of int to tuple of int, optional
        Input size of each dimension that the position tables are made for, where it is none of the release's.

    Returns
    -------
    Released
        In evaluation mode; ``network(x)`` gives a dict of tensors by the names of its outputs.

    Raises
    ------
    InputError
        The variant is unknown, or the weights do not fit it.
    """
    if variant not in VARIANTS:
        raise InputError(f"'{variant}' is no network of the release; there are {', '.join(VARIANTS)}")
    weights = _without_gain(state_dict) if variant == "projection_head" else dict(state_dict)
    _refuse_other_names(variant, weights)
    _refuse_other_axes(variant, weights)
    sizes = _sizes(variant, weights, native)
    with torch.device("meta"):  # no time for first weights that are replaced at once
        ours = _make(variant, sizes)
    names = release_names(variant, ours.state_dict())
    try:
        own = {name: weights[theirs].float().clone() for name, theirs in names.items()}
        ours.load_state_dict(own, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"the weights do not fit {variant}: {reason}") from error
    return Released(variant, sizes, ours).eval()


def identify(names: Iterable[str]) -> str:
    """Return the variant that has exactly these parameter names.

    Raises
    ------
    InputError
        None has; says which one is nearest, and what is missing or too much.
    """
    given = set(names) - {GAIN}
    nearest = max(VARIANTS, key=lambda variant: _likeness(given, expected_names(variant)))
    if len(given & expected_names(nearest)) < len(given) / 2:
        raise InputError(f"none of the release's networks is among its {len(given)} tensors")
    _refuse_other_names(nearest, given)
    return nearest


def _likeness(one: Set[str], other: Set[str]) -> float:
    """Share of their names that two networks have in common."""
    return len(one & other) / len(one | other)


def expected_names(variant: str) -> frozenset[str]:
    """Names of a variant's parameters in the release; a head's constant gain is not among them."""
    return frozenset(_names_by_ours(variant).values())


@cache
def _names_by_ours(variant: str) -> dict[str, str]:
    with torch.device("meta"):
        return release_names(variant, _make(variant, _published(variant)).state_dict())


def _refuse_other_axes(variant: str, weights: Mapping[str, Tensor]) -> None:
    for name, axes in _axes(variant).items():
        if weights[name].ndim != axes:
            raise InputError(f"'{name}' has {weights[name].ndim} axes; in {variant} it has {axes}")


@cache
def _axes(variant: str) -> dict[str, int]:
    """Count the axes of every parameter, by the release's name."""
    with torch.device("meta"):
        state = _make(variant, _published(variant)).state_dict()
    return {theirs: state[ours].ndim for ours, theirs in _names_by_ours(variant).items()}


def _published(variant: str) -> Sizes:
    return Sizes(PRESETS[VARIANTS[variant].network].native, INPUT_CHANNELS, 2)


def _sizes(variant: str, weights: Mapping[str, Tensor], native: Native | None) -> Sizes:
    v, theirs = VARIANTS[variant], _names_by_ours(variant)
    if v.kind == "head":
        return Sizes({}, {0: weights["mlp.0.weight"].shape[1]}, weights[_DIRECTION].shape[0])
    channels = {d: weights[theirs[f"encoder.stem.0.{d}d.0.0.weight"]].shape[1] for d in v.dimensions}
    classes = weights[theirs["head.weight"]].shape[0] if v.kind != "backbone" else 0
    given = native or {}
    for d in set(given) - set(v.dimensions):
        raise InputError(f"{variant} has no {d}D part to give an input size for")
    found = {d: given.get(d) or _native(variant, weights[_first_table(theirs, d)], d) for d in v.dimensions}
    return Sizes(found, channels, classes)


def _make(variant: str, sizes: Sizes) -> nn.Module:
    """Make our network of these sizes, untrained."""
    v, native, channels = VARIANTS[variant], sizes.native, sizes.channels
    if v.kind == "head":
        return ProjectionHead(channels.get(0, PRESETS[v.network].dims[0]), sizes.classes)
    if v.kind == "backbone":
        return Backbone(v.network, native, channels, reconstruction=v.plus)
    (d,) = v.dimensions
    if v.kind == "classification":
        return ClassificationNetwork(v.network, channels[d], sizes.classes, native[d])
    return SegmentationNetwork(
        v.network,
        channels[d],
        sizes.classes,
        native[d],
        deep_supervision=len(v.outputs) > 1,
        rereads_coarsest=d == 2,
    )


def _first_table(theirs: Mapping[str, str], dimension: int) -> str:
    return theirs[f"encoder.stages.0.position.tables.{dimension}d"]


def _native(variant: str, table: Tensor, dimension: int) -> Shape:
    """Input size that the first stage's table is made for, among those of the release."""
    v = VARIANTS[variant]
    entries = table.shape[1] - (v.kind != "segmentation")
    for size in _NATIVE[dimension]:
        if math.prod(PRESETS[v.network].grids(size)[0]) == entries:
            return size
    raise InputError(
        f"the {dimension}D position tables have {entries} places, which is no input size of the "
        "release; say for which one the network was built (--native)"
    )


def _refuse_other_names(variant: str, given: Iterable[str]) -> None:
    expected, found = expected_names(variant), set(given)
    missing, surplus = sorted(expected - found), sorted(found - expected)
    if missing or surplus:
        told = [
            f"{len(n)} {what} (first {n[0]})" for n, what in ((missing, "missing"), (surplus, "unknown")) if n
        ]
        raise InputError(
            f"of {variant}, which comes nearest, {' and '.join(told)} among {len(found)} tensors"
        )


def _without_gain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the gain of the last layer, which is fixed at 1."""
    weights = dict(state)
    gain = weights.pop(GAIN, None)
    if gain is not None and not bool((gain == 1).all()):
        raise InputError(f"{GAIN} is not 1 everywhere; the release fixes it there")
    return weights
