"""UniMiSS: universal medical self-supervised learning from 2D and 3D images.

Research use only; not a medical device.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from unimiss.errors import UnimissError
from unimiss.geometry import Geometry
from unimiss.io import Image, read, write

try:
    __version__ = version("napari-unimiss")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0.0.0"

_ROOMS = ("drr", "evaluation", "finetuning", "inference", "models", "pretraining", "runs", "samples")

__all__ = ["Geometry", "Image", "UnimissError", "__version__", "read", "write", *_ROOMS]


def __getattr__(name: str) -> Any:
    """Load a room when it is first used: torch takes seconds to import."""
    if name in _ROOMS:
        return importlib.import_module(f"unimiss.{name}")
    raise AttributeError(f"module 'unimiss' has no attribute {name!r}")
