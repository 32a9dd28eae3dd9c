"""The table of a classification: always as far as the work is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from unimiss.data.preprocessing import BY_PERCENTILE, Preprocessing
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.inference import table
from unimiss.inference.table import classify_files
from unimiss.io import Image, write


class Model:
    """Stands for a trained model of flat images."""

    labels = {0: "healthy", 1: "ill"}
    overlapping = False
    preprocessing = Preprocessing(size=(8, 8), intensity=BY_PERCENTILE)

    def classify(self, image: Image) -> dict[str, float]:
        return {"healthy": 0.25, "ill": 0.75}

    def decide(self, found: dict[str, float]) -> list[str]:
        return ["ill"]


def films(folder: Path, names: list[str]) -> Path:
    for name in names:
        write(Image(np.zeros((1, 9, 9), np.uint8), Geometry.from_spacing((9, 9))), folder / f"{name}.png")
    return folder


def lines(output: Path) -> list[str]:
    return (output / "predictions.csv").read_text(encoding="utf-8").splitlines()


def test_the_table_is_there_from_the_start_and_grows_while_the_work_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_SECONDS_UNSAVED", 0.0)
    there: list[int] = []
    classify_files(
        Model(),
        [films(tmp_path / "in", ["a", "b", "c"])],
        tmp_path / "out",
        progress=lambda share, name: there.append(len(lines(tmp_path / "out"))),
        warn=pytest.fail,
    )
    assert there == [2, 3, 4]

    class Dies(Model):
        def classify(self, image: Image) -> dict[str, float]:
            assert lines(tmp_path / "new") == ["image,label,healthy,ill"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify_files(
            Dies(), [tmp_path / "in"], tmp_path / "new", progress=lambda *_: None, warn=pytest.fail
        )


def test_an_output_that_cannot_be_a_folder_is_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    model = Model()
    model.classify = pytest.fail
    with pytest.raises(InputError, match="the table needs a folder"):
        classify_files(
            model,
            [films(tmp_path / "in", ["a"])],
            tmp_path / "file" / "below",
            progress=lambda *_: None,
            warn=pytest.fail,
        )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_costs_no_row(tmp_path):
    folder = films(tmp_path / "in", ["a", "b"])
    os.rename(folder / "b.png", os.fsencode(folder) + b"/b\xff.png")
    classify_files(Model(), [folder], tmp_path / "out", progress=lambda *_: None, warn=pytest.fail)
    assert [line.split(",")[0] for line in lines(tmp_path / "out")] == ["image", "a.png", "b?.png"]
