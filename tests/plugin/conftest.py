import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from qtpy.QtWidgets import QApplication

from napari_unimiss import children, jobs
from unimiss import Geometry, Image

os.environ.setdefault("NAPARI_CONFIG", "")  # never the user's own settings


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Run folders are suggested in the user's home, which tests leave alone."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")


@pytest.fixture(autouse=True)
def no_job_outlives_its_test():
    before = set(psutil.Process().children(recursive=True))
    yield
    jobs.end_all(grace=0)
    deadline = time.monotonic() + 10
    while jobs.current() is not None and time.monotonic() < deadline:
        QApplication.processEvents()
        time.sleep(0.01)
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left, f"processes that outlived their test: {left}"


@pytest.fixture
def behave(monkeypatch) -> Callable[[str], None]:
    """Make jobs start a stand-in that behaves in a given way, instead of a real command."""

    def choose(behaviour: str) -> None:
        def launch(arguments, log_file):
            run = arguments[list(arguments).index("--run") + 1]
            log_file.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, str(Path(__file__).with_name("standin.py")), run, behaviour]
            with open(log_file, "ab") as log:
                return subprocess.Popen(command, stdout=log, stderr=log)

        monkeypatch.setattr(children, "launch", launch)

    return choose


def steps(panel) -> int:
    """How many steps the loss curves of a dock show."""
    return sum(len(line_steps) for line_steps, _ in panel.plot.loss.points.values())


def oblique_geometry(shape=(6, 9, 12), flips=(1, -1, -1)) -> Geometry:
    """A grid in another axis order, mirrored, anisotropic, and turned about two axes."""
    a, b = np.deg2rad(17), np.deg2rad(-11)
    turn_z = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_x = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_z @ turn_x @ np.diag([4.0, 0.7, 0.9] * np.array(flips))[:, [2, 0, 1]]
    matrix[:3, 3] = -112.5, 31.25, 77.0
    return Geometry(tuple(np.array(shape)[[2, 0, 1]]), matrix)


@pytest.fixture
def oblique() -> Image:
    geometry = oblique_geometry()
    array = np.random.default_rng(3).integers(-900, 1200, geometry.shape).astype(np.int16)
    return Image(array[None], geometry)
