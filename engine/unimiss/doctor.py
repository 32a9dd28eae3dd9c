"""What this machine has, what is missing, and how to get it."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import psutil

from unimiss.data.cache import default_folder

_PACKAGES = (
    "napari-unimiss",
    "torch",
    "monai",
    "lightning-fabric",
    "napari",
    "numpy",
    "nibabel",
    "pydicom",
    "SimpleITK",
)
_QT_LIBRARIES = (
    "GL",
    "EGL",
    "xcb-cursor",
    "xcb-icccm",
    "xcb-keysyms",
    "xcb-shape",
    "xkbcommon-x11",
    "dbus-1",
)
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes
    ----------
    name, value : str
        What was looked at, and what was found.
    advice : str
        What to do about it; empty where all is well.
    """

    name: str
    value: str
    advice: str = ""


def diagnose() -> list[Finding]:
    """Look at versions, devices, memory, disk, Qt and OpenGL."""
    found = [Finding("python", f"{platform.python_version()} on {platform.platform()}")]
    found += [_package(name) for name in _PACKAGES]
    found += [*_devices(), _memory(), _disk()]
    found += [_qt(), _libraries()]
    return found


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", f"pip install {name}")


def _devices() -> list[Finding]:
    import torch

    from unimiss.devices import resolve_precision

    found = [Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory / _GIB
            found.append(Finding(f"gpu {i}", f"{torch.cuda.get_device_name(i)}, {memory:.0f} GiB"))
    elif torch.mps.is_available():
        found.append(Finding("gpu", "Apple (MPS)"))
    elif shutil.which("nvidia-smi"):
        advice = (
            "this torch was built without CUDA, or the driver is too old: reinstall torch from pytorch.org"
        )
        found.append(Finding("gpu", "an NVIDIA driver is there, but torch does not see a GPU", advice))
    else:
        found.append(Finding("gpu", "none; everything runs on the CPU, training slowly"))
    found.append(Finding("precision", f"auto means {resolve_precision('auto')}"))
    return found


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    few = memory.available < 4 * _GIB
    text = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    return Finding("memory", text, "close other programs: training wants 4 GiB or more" if few else "")


def _disk() -> Finding:
    folder = default_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / _GIB
    advice = "free space, or set UNIMISS_CACHE to a folder on a larger disk" if free < 5 else ""
    return Finding("cache", f"{folder}, {free:.0f} GiB free", advice)


def _qt() -> Finding:
    try:
        binding = importlib.import_module("qtpy")
    except Exception:  # qtpy has an error class of its own for "no binding"
        return Finding("Qt", "missing", 'the viewer needs one: pip install "napari-unimiss[all]"')
    return Finding("Qt", f"{binding.API_NAME} {binding.QT_VERSION}")


def _libraries() -> Finding:
    if sys.platform != "linux":
        return Finding("OpenGL", "comes with the system")
    missing = [name for name in _QT_LIBRARIES if ctypes.util.find_library(name) is None]
    screen = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    where = (
        f"screen {screen}" if screen else f"no screen, Xvfb {'found' if shutil.which('Xvfb') else 'missing'}"
    )
    advice = (
        "on Debian and Ubuntu: apt-get install libgl1 libegl1 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0 "
        "libxcb-icccm4 libxcb-keysyms1 libxcb-shape0"
    )
    if missing:
        return Finding("OpenGL and X11", f"missing {', '.join(missing)}; {where}", advice)
    return Finding("OpenGL and X11", f"libraries found; {where}")
