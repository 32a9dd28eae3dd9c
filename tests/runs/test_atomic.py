from __future__ import annotations

import os
from pathlib import Path

import pytest

from unimiss.errors import InputError, JobError
from unimiss.runs import atomic


def test_a_file_appears_complete_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    atomic.write_json(path, {"größe": 1})
    assert path.read_text().endswith("}\n")
    assert [found.name for found in path.parent.iterdir()] == ["file.json"]


def test_the_temporary_file_is_hidden_in_the_same_folder_and_has_the_same_suffix(tmp_path: Path) -> None:
    seen = []

    def save(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_text("x")

    atomic.write(tmp_path / "image.nii.gz", save)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(".")
    assert seen[0].name.endswith(".nii.gz")


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (
            OSError(28, "No space left on device"),
            JobError,
            r"file could not be written: No space left on device",
        ),
        (RuntimeError("I/O error"), JobError, "file could not be written: I/O error"),
        (InputError("wrong kind"), InputError, "^wrong kind$"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_a_failure_leaves_the_earlier_file_and_no_other(
    tmp_path: Path, raised: BaseException, expected: type[BaseException], words: str
) -> None:
    (tmp_path / "file").write_text("earlier")

    def save(temporary: Path) -> None:
        temporary.write_text("half")
        raise raised

    with pytest.raises(expected, match=words):
        atomic.write(tmp_path / "file", save)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file", "earlier")]


def test_a_rename_that_fails_leaves_the_earlier_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(13, "Permission denied")  # what Windows says while somebody reads the file

    (tmp_path / "file").write_text("earlier")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(JobError, match="file could not be written: Permission denied"):
        atomic.write_text(tmp_path / "file", "new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file", "earlier")]


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JobError, match=r"x.json could not be written: .*file is not a folder$"):
        atomic.write_json(tmp_path / "file" / "x.json", {})
