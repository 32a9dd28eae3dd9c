"""What all tests share: real data where there is any, a full disk, hypothesis's settings."""

from __future__ import annotations

import os

# Before torch: beside other work, spinning costs ten times, and workers of pytest-xdist have a core each.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from unimiss.cli import main
from unimiss.samples import write_dataset, write_radiographs

settings.register_profile(
    "unimiss",
    deadline=None,
    max_examples=40,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("unimiss")

_FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def fill_disk(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
"""


class Release:
    """Weights and inputs of the official release's networks, made by rule, and its stored outputs."""

    folder = Path(__file__).parent / "release"

    def __init__(self) -> None:
        self.manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        self.golden = dict(np.load(self.folder / "golden.npz"))

    @staticmethod
    def random(text: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))

    def weights(self, variant: str) -> dict[str, torch.Tensor]:
        """State dict by the release's names."""
        names = self.manifest[variant]["state_dict"]
        return {name: torch.from_numpy(self._value(name, tuple(shape))) for name, shape in names}

    def _value(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        n = self.random(name).standard_normal(shape).astype(np.float32)
        lower = name.lower()
        if "posembed" in lower or "pos_embed" in lower or name.endswith("cls_tokens1"):
            return np.float32(0.2) * n
        if name.endswith("weight_g"):
            return np.ones(shape, np.float32)
        if len(shape) > 1:
            return n / np.float32(np.sqrt(np.prod(shape[1:])))
        return 1 + np.float32(0.1) * n if name.endswith("weight") else np.float32(0.1) * n

    def image(self, variant: str, case: dict[str, Any]) -> torch.Tensor:
        """Input of a case."""
        drawn = self.random(f"input:{variant}/{case['case']}").standard_normal(case["input_shape"])
        return torch.from_numpy(drawn.astype(np.float32))

    def sample(self, key: str, output: torch.Tensor, sampled: int | None) -> NDArray[np.float32]:
        """What is stored of an output: all of it, or values at drawn places."""
        flat = output.numpy().ravel()
        if sampled is None:
            return flat
        return flat[np.sort(self.random(f"index:{key}").choice(flat.size, sampled, replace=False))]


@pytest.fixture(scope="session")
def release() -> Release:
    """The official release's numbers."""
    return Release()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared images out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMISS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def torsos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small labelled data set (imagesTr, labelsTr, dataset.json) and of radiographs beside it."""
    folder = tmp_path_factory.mktemp("torsos")
    write_dataset(folder, range(4), spacing=(12.0, 9.0, 9.0))
    write_radiographs(folder / "radiographs", range(2), shape=(48, 48))
    return folder


@pytest.fixture(scope="session")
def unimiss() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line to its end and give what a process of its own would, without the time that one takes."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        given, out, err = [str(argument) for argument in arguments], StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(given)
        return subprocess.CompletedProcess(given, ended.value.code or 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public research data that docs/results.md names."""
    folder = os.environ.get("UNIMISS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("UNIMISS_DATA names no folder: real images are absent")
    return Path(folder)


@pytest.fixture
def run_on_full_disk(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run Python code in `tmp_path` that may call ``fill_disk(limit)``: no file can grow beyond it then."""
    if sys.platform == "win32":
        pytest.skip("Windows limits no file sizes")

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _FULL_DISK + code]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run
