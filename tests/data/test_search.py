"""Image files of folders and lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimiss.data.cases import find_images, search
from unimiss.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b, right.png", "more/c.png", "more/c_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(folder: Path, name: str, text: str) -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    return [path.relative_to(folder).as_posix() for path in find_images([folder / name])]


def test_a_list_is_read_relative_to_itself_whatever_editor_wrote_it(folder):
    assert listed(folder, "list.txt", "\ufeffa.png\r\n\r\n  # comment\r\n b, right.png \r\n") == [
        "a.png",
        "b, right.png",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "id,Path,label\n1,a.png,x\n2,more/c.png,y\n",
        "image;label\na.png;x\nmore/c.png;y\n",
        '\ufefffile\na.png\n"more/c.png"\n',
        "a.png,x\n\n# comment\nmore/c.png,y\n",
        "a.png\nmore/c.png\n",
    ],
)
def test_a_table_names_its_images_in_a_column(folder, text):
    assert listed(folder, "table.csv", text) == ["a.png", "more/c.png"]


def test_a_folder_in_a_list_is_searched(folder):
    assert listed(folder, "list.txt", "a.png\nmore\n") == ["a.png", "more/c.png"]
    assert search([folder / "list.txt"]).masks == [folder / "more" / "c_mask.png"]


def test_a_missing_line_stays_to_be_named_and_stops_nothing(folder):
    (folder / "empty").mkdir()
    long = "x" * 300  # longer than file names may be
    lines = ["a.png", "gone.png", "empty", f"{long}.png"]
    assert listed(folder, "list.txt", "\n".join(lines)) == lines


@pytest.mark.parametrize(
    ("text", "words"),
    [("x.png\ny.png\n", r"names 2 files, and none is there, first .*x\.png"), ("# nothing\n", "no image")],
)
def test_a_list_of_nothing_is_refused(folder, text, words):
    with pytest.raises(InputError, match=words):
        listed(folder, "list.txt", text)


def test_bytes_are_no_list(folder):
    (folder / "list.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match="not a text list"):
        find_images([folder / "list.csv"])


def test_masks_beside_images_are_kept_apart(folder):
    found = search([folder])
    assert [path.name for path in found.images] == ["a.png", "b, right.png", "c.png"]
    assert [path.name for path in found.masks] == ["c_mask.png"]


def test_a_mask_that_is_named_itself_is_taken(folder):
    mask = folder / "more" / "c_mask.png"
    assert find_images([mask]) == [mask]
    assert listed(folder, "list.txt", "more/c_mask.png") == ["more/c_mask.png"]


def test_a_folder_of_nothing_but_masks_says_so(folder):
    (folder / "more" / "c.png").unlink()
    with pytest.raises(InputError, match="all 1 files in it are masks"):
        find_images([folder / "more"])
