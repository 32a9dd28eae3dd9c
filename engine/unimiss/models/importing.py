"""Checkpoints of the official release into models of this project, without running anything in them."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor

from unimiss.errors import InputError
from unimiss.models.backbone import Backbone
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.release_names import VARIANTS
from unimiss.models.released import Native, Released, identify, network
from unimiss.models.segmentation import SegmentationNetwork

Part = Literal["student", "teacher"]
_BARE = ("state_dict", "model")  # where nnU-Net and others keep what they train


@dataclass
class Imported:
    """A released checkpoint, read.

    Attributes
    ----------
    checkpoint : Checkpoint
        The model.
    variant : str
        Which network of the release it is.
    part : str
        "student", "teacher", or "" where the file holds one set of weights.
    loaded : list of str
        Tensors of the file that the model holds, by their path in the file.
    unused : list of str
        All others.
    """

    checkpoint: Checkpoint
    variant: str
    part: str
    loaded: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def unused_groups(self) -> dict[str, int]:
        """Count the unused tensors by the part of the file that they belong to."""
        groups: dict[str, int] = {}
        for name in self.unused:
            top, _, rest = name.partition("/")
            group = f"{top}'s head" if ".head." in f".{rest}" else top if rest else "others"
            groups[group] = groups.get(group, 0) + 1
        return groups


def import_release(
    path: Path, *, part: Part = "student", head: bool = False, native: Native | None = None
) -> Imported:
    """Read an official UniMiSS or UniMiSS+ checkpoint, or a bare state dict by the release's names.

    Parameters
    ----------
    path : Path
        A dict with ``student``, ``teacher``, ``optimizer``, ``epoch``, ``args`` and the loss, or of tensors.
    part : "student" or "teacher"
        Whose weights to take; the published fine-tunings start from the student.
    head : bool
        Also keep the projection head of pre-training.
    native : mapping of int to tuple of int, optional
        Input size of each dimension that the position tables are made for, where it is none of the release's.

    Raises
    ------
    InputError
        The file cannot be read safely, or holds no network of the release.
    """
    content = _read(path)
    try:
        place, weights = _weights(content, part)
        body, prefix = _below(weights, "backbone.")
        variant = identify(body)
        if variant == "projection_head":
            raise InputError("it holds only a projection head, and no network")
        released = network(variant, _checked(body), native)
        tensors = {f"network.{name}": tensor for name, tensor in released.network.state_dict().items()}
        names = [f"{prefix}{name}" for name in body]
        head_weights, head_prefix = _below(weights, "head.")
        if head:
            if not head_weights:
                raise InputError("it holds no projection head")
            ours = network("projection_head", _checked(head_weights)).network
            tensors |= {f"head.{name}": tensor for name, tensor in ours.state_dict().items()}
            names += [f"{head_prefix}{name}" for name in head_weights]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    loaded = [f"{place}{name}" for name in names]
    unused = sorted(set(_tensor_paths(content)) - set(loaded))
    taken = place.strip("/")
    description = _describe(released, content.get("epoch"), taken, len(loaded), len(unused))
    return Imported(Checkpoint(description, tensors), variant, taken, loaded, unused)


def parse_sizes(texts: Sequence[str]) -> Native:
    """Turn ``224x224`` and ``48x192x192`` into the native size of each dimension."""
    sizes = {}
    for text in texts:
        size = tuple(int(n) if n.isdecimal() else 0 for n in text.split("x"))
        if len(size) not in (2, 3) or not all(0 < n <= 4096 for n in size):
            raise InputError(f"'{text}' is no size; write 224x224 or 48x192x192")
        sizes[len(size)] = size
    return sizes


def _read(path: Path) -> Mapping[str, Any]:
    """Load a pickle of tensors, plain values and `argparse.Namespace`; nothing in it can run."""
    try:
        packed = zipfile.is_zipfile(path)
        if packed:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise InputError(f"{path} is compressed inside; PyTorch checkpoints never are")
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except UnpicklingError as error:
        raise InputError(f"{path} is refused: {_forbidden(error)}") from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise InputError(f"{path} is damaged or is no PyTorch checkpoint") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; a checkpoint is a dict of tensors")
    return content


def _forbidden(error: UnpicklingError) -> str:
    """Name what the file asked for that would run code, where the loader tells it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    asks = f", it asks for {found[1]}" if found else ""
    return f"it holds more than tensors and plain values{asks}; nothing in it was run"


def _weights(content: Mapping[str, Any], part: Part) -> tuple[str, Mapping[str, Any]]:
    """Find the weights in a file, and their path in it."""
    holds = [name for name in ("student", "teacher", *_BARE) if isinstance(content.get(name), dict)]
    if {"student", "teacher"} & set(holds):
        if part not in holds:
            raise InputError(f"it holds no {part}, only {holds[0]}")
        return f"{part}/", content[part]
    return (f"{holds[0]}/", content[holds[0]]) if holds else ("", content)


def _below(weights: Mapping[str, Any], wanted: str) -> tuple[dict[str, Any], str]:
    """Return the weights under a prefix, and the prefix as the file writes it.

    A file without ``backbone.`` holds one network only, and no projection head.
    """
    module = "module." if weights and all(str(name).startswith("module.") for name in weights) else ""
    parts = any(str(name).startswith(f"{module}backbone.") for name in weights)
    prefix = f"{module}{wanted}" if parts else module
    if not parts and wanted != "backbone.":
        return {}, ""
    found = {str(n).removeprefix(prefix): t for n, t in weights.items() if str(n).startswith(prefix)}
    return found, prefix


def _checked(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Refuse what is no plain tensor of finite numbers, or claims more numbers than it has."""
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise InputError(f"'{name}' is no plain tensor")
        if not tensor.is_floating_point():
            raise InputError(f"'{name}' holds {tensor.dtype} values; weights are floating-point numbers")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise InputError(f"'{name}' claims more values than the file has")
        if not bool(tensor.isfinite().all()):
            raise InputError(f"'{name}' holds values that are not finite")
    return dict(weights)


def _tensor_paths(content: Any, place: str = "") -> Iterator[str]:
    """Name every tensor in the file by its path."""
    if isinstance(content, Tensor):
        yield place
        return
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    for name, value in items:
        yield from _tensor_paths(value, f"{place}/{name}" if place else str(name))


def _describe(released: Released, epoch: Any, part: str, loaded: int, unused: int) -> Description:
    kind, sizes = VARIANTS[released.variant].kind, released.sizes
    ours = released.network
    segments = isinstance(ours, SegmentationNetwork)
    return Description.build(
        {
            "kind": kind,
            "network": VARIANTS[released.variant].network,
            "native": sizes.native,
            "channels": sizes.channels,
            "reconstruction": isinstance(ours, Backbone) and ours.reconstructs,
            "deep_supervision": segments and bool(ours.deep_heads),
            "rereads_coarsest": segments and ours.rereads_coarsest,
            "labels": {i: f"class {i}" for i in range(sizes.classes)},  # the file does not name them
            "objective": "imported",
            "step": 0,
            "provenance": {
                "released": released.variant,
                "part": part,
                "epoch": epoch if isinstance(epoch, int) else None,
                "tensors": {"loaded": loaded, "unused": unused},
            },
        }
    )
