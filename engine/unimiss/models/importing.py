"""Checkpoints of the official release into models of this project, without running anything in them."""

from __future__ import annotations

import argparse
import mmap
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unimiss.errors import InputError
from unimiss.models.backbone import Backbone
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.models.presets import Shape
from unimiss.models.release_names import VARIANTS
from unimiss.models.released import GAIN, Native, Released, identify, network
from unimiss.models.segmentation import SegmentationNetwork

Part = Literal["student", "teacher"]
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
    converted : list of str
        Those among them that were stored in another precision than float32.
    unused : list of str
        All others.
    guessed : tuple of int
        Dimensions whose input size was told from the length of the position tables.
    """

    checkpoint: Checkpoint
    variant: str
    part: str
    loaded: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    guessed: tuple[int, ...] = ()

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
        given = {f"{place}{prefix}{name}": tensor for name, tensor in body.items()}
        if head:
            below, prefix = _below(weights, "head.")
            if not below:
                raise InputError("it holds no projection head")
            ours = network("projection_head", _checked(below)).network
            tensors |= {f"head.{name}": tensor for name, tensor in ours.state_dict().items()}
            given |= {f"{place}{prefix}{name}": below[name] for name in below if name != GAIN}
        loaded = list(given)
        unused = sorted(set(_tensor_paths(content)) - set(loaded))
        part_taken = place.strip("/")
        description = _describe(released, content.get("epoch"), part_taken, len(loaded), len(unused))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    converted = [name for name, tensor in given.items() if tensor.dtype != torch.float32]
    guessed = tuple(d for d in released.sizes.native if d not in (native or {}))
    model = Checkpoint(description, tensors)
    return Imported(model, variant, part_taken, loaded, converted, unused, guessed)


def parse_sizes(texts: Sequence[str]) -> Native:
    """Turn ``224x224`` and ``48x192x192`` into the native size of each dimension."""
    sizes: dict[int, Shape] = {}
    for text in texts:
        size = tuple(int(n) if n.isdecimal() else 0 for n in text.split("x"))
        if len(size) not in (2, 3) or not all(0 < n <= 4096 for n in size):
            raise InputError(f"'{text}' is no size; write 224x224 or 48x192x192")
        if len(size) in sizes:
            raise InputError(f"--native names two sizes for {len(size)}D; a network has one")
        sizes[len(size)] = size
    return sizes


def _read(path: Path) -> Mapping[str, Any]:
    """Load a pickle of tensors, plain values and `argparse.Namespace`; nothing in it can run."""
    if not path.is_file():
        raise InputError(f"{path} is no file" if path.exists() else f"{path}: there is no such file")
    try:
        packed = _refuse_traps(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except InputError as error:
        raise InputError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged or hostile pickle can raise anything
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            raise InputError(f"{path} is refused: {_asks_for(asked[1])}") from error
        raise InputError(f"{path} is damaged or is no PyTorch checkpoint") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; a checkpoint is a dict of tensors")
    return content


def _asks_for(name: str) -> str:
    return f"it holds more than tensors and plain values, it asks for {name}; nothing in it was run"


def _refuse_traps(path: Path) -> bool:
    """Refuse small files that would fill the memory; say whether the file is a zip archive.

    The loader allows `bytearray`, and unpacks what is compressed. An archive can show one directory to Python
    and another to PyTorch, unless its directory's locator points at the record right before it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"\nbytearray\n") >= 0:
            raise InputError(_asks_for("builtins.bytearray"))
        if not zipfile.is_zipfile(path):
            return False
        end, locator = content[-22:], content[-42:-22]
        told = int.from_bytes(locator[8:16], "little")
        if end[:4] != b"PK\x05\x06" or (locator[:4] == b"PK\x06\x07" and told != len(content) - 98):
            raise InputError("its directory is not as PyTorch writes it")
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError("it is compressed inside; PyTorch checkpoints never are")
    return True


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
    """Give the weights in float32; refuse what is no plain tensor of finite numbers that the file holds."""
    checked = {}
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise InputError(f"'{name}' is no plain tensor")
        if tensor.dtype not in _PRECISIONS:
            raise InputError(f"'{name}' holds {tensor.dtype} values; weights are floating-point numbers")
        stored = tensor.untyped_storage().nbytes()
        if tensor.numel() == 0 or stored < tensor.numel() * tensor.element_size():
            raise InputError(f"'{name}' claims the shape {list(tensor.shape)}, which the file does not hold")
        checked[name] = tensor.float()
        if not bool(checked[name].isfinite().all()):
            raise InputError(f"'{name}' holds values that are not finite in float32")
    return checked


def _tensor_paths(content: Any) -> Iterator[str]:
    """Name every tensor in the file by its path; a container that stands in several places counts once."""
    waiting, seen = [("", content)], set()
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Tensor):
            yield place
            continue
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        items: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, (list, tuple)):
            items = enumerate(value)
        if id(value) not in seen:
            seen.add(id(value))
            waiting += [(f"{place}/{name}" if place else str(name), item) for name, item in items]


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
        },
        "what it tells of its network",
    )
