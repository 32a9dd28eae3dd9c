"""Devices and precision, by Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import psutil
import torch

from unimiss.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


def make_fabric(devices: int = 1, nodes: int = 1, precision: Precision = "auto") -> Fabric:
    """Start a Fabric on the best accelerator of this machine.

    Parameters
    ----------
    devices, nodes : int
        Processes on each machine, and machines. More than one run data-parallel. Where torchrun or SLURM's
        srun started this process among others, 1 and 1 mean as many as they started.
    precision : str
        "auto" takes bf16 where the device computes it natively, else fp32.

    Raises
    ------
    InputError
        There are fewer devices than asked for, they lack the precision, or a launcher started other numbers.
    """
    started = started_by_launcher()
    if started is not None and (devices, nodes) == (1, 1):
        devices, nodes = started
    if started not in (None, (devices, nodes)):
        raise InputError(
            f"devices={devices}, nodes={nodes}: torchrun or srun started {started[0]} processes on each of "
            f"{started[1]} machines; leave both settings out"
        )
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning_fabric")
    resolved = resolve_precision(precision)
    strategy = "auto" if devices * nodes == 1 else DDPStrategy(find_unused_parameters=True)
    try:
        fabric = Fabric(
            accelerator="auto", devices=devices, num_nodes=nodes, precision=resolved, strategy=strategy
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"devices={devices}, nodes={nodes}, precision={resolved}: {reason}") from error
    return fabric


def started_by_launcher() -> tuple[int, int] | None:
    """Return how many processes on each machine, and machines, torchrun or srun started this one among."""
    said = os.environ
    if "TORCHELASTIC_RUN_ID" in said:
        processes, here = int(said["WORLD_SIZE"]), int(said["LOCAL_WORLD_SIZE"])
        return here, processes // here
    if "SLURM_NTASKS" in said and said.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(said.get("SLURM_NNODES", "1"))
        return int(said["SLURM_NTASKS"]) // nodes, nodes
    return None


def refuse_to_compile() -> None:
    """Say that compiling for a CPU needs a C++ compiler, where there is none."""
    compilers = (os.environ.get("CXX", ""), "g++", "c++", "clang++", "cl")
    if best_device().type == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise InputError("compile = true needs a C++ compiler on this machine (g++, clang++); there is none")


def keep_freed_memory() -> None:
    """Let this process reuse memory that it freed, instead of giving it back and asking for it again.

    Training frees and asks for the same hundreds of MiB in every step, and Linux clears each page anew: a
    step on a CPU takes a fifth less time without that, for 5 % more memory. It holds until the process ends,
    so only commands that train ask for it. Only glibc has the switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for switch, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            mallopt(switch, value)


def refuse_uneven(batch: int | str, processes: int) -> None:
    """Say that a batch cannot be shared evenly, which the mean over processes relies on."""
    if isinstance(batch, int) and batch % processes:
        raise InputError(f"a batch of {batch} cannot be shared by {processes} processes; take a multiple")


def average(fabric: Fabric, value: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes; `value` itself stays, which Fabric would overwrite."""
    if fabric.world_size == 1:
        return value
    return torch.as_tensor(fabric.all_reduce(value.clone(), reduce_op="mean"))


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Whether a flag is set in any of the processes."""
    return float(average(fabric, torch.tensor(float(flag), device=fabric.device))) > 0


def gradients_are_finite(parameters: Iterable[torch.nn.Parameter]) -> bool:
    """Whether no gradient holds an infinity or a NaN, which one step would spread to all weights."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return bool(torch.stack(torch._foreach_norm(gradients)).isfinite().all()) if gradients else True


def memory_in_use() -> float:
    """GiB that this process holds, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**30
    return float(psutil.Process().memory_info().rss) / 2**30


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, had no memory left."""
    told = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in told or "out of memory" in told
    )


def best_device() -> torch.device:
    """Return the fastest device of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.mps.is_available() else "cpu")


def resolve_precision(precision: Precision) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """Choose bf16 where matrix units compute it: on such a CPU a step is then 1.4 times as fast."""
    if precision != "auto":
        return precision
    device = best_device().type
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if device == "mps":
        return "32-true"
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # absent without oneDNN
    native = supported is not None and bool(supported())
    return "bf16-mixed" if native else "32-true"


def versions() -> dict[str, str]:
    """Versions that a run's numbers depend on."""
    packages = ("napari-unimiss", "torch", "monai", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
