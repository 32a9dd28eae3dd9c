from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from unimiss.errors import InputError, JobError
from unimiss.runs import command_line, launch

MODULE = importlib.import_module("unimiss.runs.launch")  # the package shows the function of this name


def test_a_launched_job_writes_its_output_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "command_line", lambda *a: [sys.executable, "-c", f"print({a})"])
    child = launch(["one", "two words"], tmp_path / "new" / "log.txt")
    assert child.wait(timeout=60) == 0
    assert (tmp_path / "new" / "log.txt").read_text() == "('one', 'two words')\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions")
def test_a_launched_job_outlives_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    monkeypatch.setattr(MODULE, "command_line", lambda *a: [sys.executable, "-c", code])
    assert launch([], tmp_path / "log.txt").wait(timeout=60) == 0
    assert (tmp_path / "log.txt").read_text() == "True\n"


def test_the_command_is_this_interpreter() -> None:
    assert command_line("pretrain", "--run", "x") == [
        sys.executable,
        "-m",
        "unimiss",
        "pretrain",
        "--run",
        "x",
    ]


def test_a_log_that_cannot_be_written_or_a_program_that_is_absent_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"log\.txt could not be written"):
        launch([], tmp_path / "file" / "log.txt")

    def absent(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", absent)
    with pytest.raises(JobError, match="could not be started: No such file or directory"):
        launch([], tmp_path / "log.txt")
