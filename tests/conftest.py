"""What all tests share: real data where there is any, a full disk, hypothesis's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared images out of the user's cache, and OpenMP's threads from spinning, in children too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMISS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
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
    """Run the command line in a process of its own, as a user does."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "unimiss", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

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
