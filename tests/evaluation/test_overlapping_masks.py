"""Masks whose classes overlap, or are named on one side only, are scored class by class, or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unimiss import Geometry, Image, write
from unimiss.errors import InputError
from unimiss.evaluation import evaluate_folder, evaluate_masks, write_report

GRID = Geometry.from_spacing((6, 8, 8), (2, 1, 1))
FLAT = Geometry.from_spacing((8, 8), units="pixel")


def columns(stop: int, grid: Geometry = GRID) -> NDArray[np.uint8]:
    array = np.zeros(grid.shape, np.uint8)
    array[..., :stop] = 1
    return array


def put(path: Path, *planes: NDArray[np.generic], grid: Geometry = GRID) -> None:
    write(Image(np.stack(planes), grid), path)


def names(folder: Path, *classes: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(dict(enumerate(("background", *classes)))))


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    """Predictions: heart in the first 4 columns, lungs in the first 6, which the heart is part of."""
    put(tmp_path / "out" / "a.nii.gz", columns(4), columns(6))
    names(tmp_path / "out", "heart", "lungs")
    return tmp_path / "out"


def test_each_class_is_scored_by_itself_whatever_the_forms_and_their_order(
    channels: Path, tmp_path: Path
) -> None:
    put(tmp_path / "whole" / "a.nrrd", columns(6), columns(2))
    names(tmp_path / "whole", "lungs", "heart")
    for name, stop in (("lungs", 6), ("heart", 2), ("bones", 1)):
        put(tmp_path / "apart" / name / "a.mha", columns(stop) * np.uint8(255))
    table = tmp_path / "cases.csv"
    table.write_text("image,label,patient\nscans/a.nii,apart/lungs/a.mha|apart/heart/a.mha,anna\n")
    for references in (tmp_path / "whole", tmp_path / "apart", table):
        report = evaluate_folder(channels, references)
        assert report.problems == ()
        assert report.labels == {1: "heart", 2: "lungs"}
        heart, lungs = report.by_class().values()
        assert (heart.dice, lungs.dice) == (pytest.approx(2 / 3), 1)
        assert (heart.iou, heart.hd95, lungs.hd95) == (0.5, 2, 0)
        assert (heart.volume, heart.reference_volume) == (pytest.approx(0.384), pytest.approx(0.192))
    with pytest.raises(InputError, match="the reference has no class 'bones'; its classes are heart, lungs"):
        evaluate_folder(tmp_path / "apart", channels)


def rows(path: Path, cells: dict[str, str]) -> Path:
    lines = [f"{case},{'|'.join(f'apart/{file}' for file in cell.split())}" for case, cell in cells.items()]
    path.write_text("\n".join(("image,label", *lines)))
    return path


def test_every_row_of_a_table_names_its_own_classes(channels: Path, tmp_path: Path) -> None:
    for case in "abc":
        put(channels / f"{case}.nii.gz", columns(4), columns(6))
        for name, stop in (("heart", 4), ("lungs", 6)):
            put(tmp_path / "apart" / name / f"{case}.mha", columns(stop) * np.uint8(255))
    cells = {
        "a": "heart/a.mha lungs/a.mha",
        "b": "lungs/b.mha heart/b.mha",
        "c": "heart/c.mha",
    }  # of which one is lacking
    table = rows(tmp_path / "cases.csv", cells)
    report = evaluate_folder(channels, table)
    assert [case.name for case in report.cases] == ["a", "b"]
    assert {score.dice for case in report.cases for score in case.scores.values()} == {1}
    needs = "c.nii.gz: the reference needs a file for each class, as the others have (heart, lungs)"
    assert [str(problem) for problem in report.problems] == [needs]
    table.write_text(table.read_text().replace("apart/heart/c.mha", "apart/heart/c.mha|"))
    assert [str(problem) for problem in evaluate_folder(channels, table).problems] == [needs]
    (channels / "labels.json").unlink()  # then the order stands for names, and must be the same in all rows
    report = evaluate_folder(channels, table)
    assert [case.name for case in report.cases] == ["a"]
    assert str(report.problems[0]) == (
        needs.replace("c.", "b.") + ", in their order, for the predictions do not name theirs"
    )


def test_a_row_with_another_number_of_masks_is_left_out_where_folders_name_no_classes(
    channels: Path, tmp_path: Path
) -> None:
    put(channels / "b.nii.gz", columns(4), columns(6))
    for patient in ("p1", "p2"):
        for name, stop in (("heart", 4), ("lungs", 6)):
            put(tmp_path / "apart" / patient / f"{name}.mha", columns(stop))
    cells = {"a": "p1/heart.mha p1/lungs.mha", "b": "p2/heart.mha"}
    report = evaluate_folder(channels, rows(tmp_path / "cases.csv", cells))
    assert [scores.dice for scores in report.by_class().values()] == [1, 1]
    [problem] = report.problems
    assert str(problem) == "b.nii.gz: the reference needs a file for each class, as the others have (2 files)"


def test_what_one_row_of_a_table_calls_ignore_is_ignored_in_its_own_place(
    channels: Path, tmp_path: Path
) -> None:
    put(channels / "b.nii.gz", columns(4), columns(6))
    for name, stop in (("heart", 2), ("lungs", 6), ("ignore", 5)):
        for case in "ab":
            put(tmp_path / "apart" / name / f"{case}.mha", columns(stop))
    cells = {
        "a": "heart/a.mha lungs/a.mha ignore/a.mha",
        "b": "ignore/b.mha heart/b.mha lungs/b.mha",
    }
    report = evaluate_folder(channels, rows(tmp_path / "cases.csv", cells))
    assert report.labels == {1: "heart", 2: "lungs"}
    for case in report.cases:
        assert [math.isnan(case.scores[1].dice), case.scores[2].dice] == [True, 1]
        assert case.scores[2].volume == pytest.approx(6 * 8 * 2 / 1000)
    assert len(report.cases) == 2


def test_files_of_classes_are_scored_against_files_of_classes_and_drawn(tmp_path: Path) -> None:
    for side, stop in (("out", 4), ("masks", 5)):
        for name, more in (("heart", 0), ("lungs", 2)):
            plane = columns(stop + more, FLAT) * np.uint8(255)
            put(tmp_path / side / name / "chest.png", plane, grid=FLAT)
    put(tmp_path / "images" / "chest.png", columns(3, FLAT) * np.uint8(90), grid=FLAT)
    report = evaluate_folder(tmp_path / "out", tmp_path / "masks")
    heart, lungs = report.by_class().values()
    assert (heart.dice, lungs.dice) == (pytest.approx(8 / 9), pytest.approx(12 / 13))
    assert math.isnan(heart.volume)
    page = write_report(report, tmp_path / "report").read_text()
    assert page.count("<img") == 1
    assert "without its image" not in page
    assert (tmp_path / "report" / "cases.csv").read_text().count("\nchest,") == 2


def test_regions_of_nnunet_are_unions_of_their_values(channels: Path, tmp_path: Path) -> None:
    names(channels, "core", "whole")
    label_image = columns(6)
    label_image[..., :4] = 2
    put(tmp_path / "data" / "labelsTs" / "a.nii.gz", label_image)
    described = {"labels": {"background": 0, "whole": [1, 2], "core": 2}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(described))
    report = evaluate_folder(channels, tmp_path / "data" / "labelsTs")
    assert [scores.dice for scores in report.by_class().values()] == [1, 1]
    label_image[..., 3] = 1
    put(tmp_path / "own" / "a.nii.gz", label_image)  # as nnU-Net itself predicts
    report = evaluate_folder(tmp_path / "own", tmp_path / "data" / "labelsTs")
    assert {report.labels[n]: scores.dice for n, scores in report.by_class().items()} == {
        "whole": 1,
        "core": pytest.approx(6 / 7),
    }


@pytest.mark.parametrize(
    ("classes", "planes", "said"),
    [
        (("Heart", "lungs"), 2, "the reference has no class 'heart'; its classes are Heart, lungs"),
        ((), 3, "the reference has 3 channels for 2 classes; name them"),
    ],
)
def test_what_cannot_be_matched_is_never_guessed(
    channels: Path, tmp_path: Path, classes: tuple[str, ...], planes: int, said: str
) -> None:
    put(tmp_path / "masks" / "a.nii.gz", *(columns(n + 4) for n in range(planes)))
    if classes:
        names(tmp_path / "masks", *classes)
    with pytest.raises(InputError, match=said):
        evaluate_folder(channels, tmp_path / "masks")


def test_a_label_image_is_a_reference_for_channels_by_the_values_of_its_names(
    channels: Path, tmp_path: Path
) -> None:
    label_image = columns(6)
    label_image[..., 2:4] = 2
    put(tmp_path / "masks" / "a.nii.gz", label_image)
    names(tmp_path / "masks", "lungs", "heart")
    report = evaluate_folder(channels, tmp_path / "masks")
    heart, lungs = report.by_class().values()
    assert (heart.dice, lungs.dice) == (pytest.approx(2 / 3), pytest.approx(0.8))


def test_channels_without_names_are_matched_by_their_order(channels: Path, tmp_path: Path) -> None:
    put(tmp_path / "masks" / "a.nii.gz", columns(4), columns(3))
    report = evaluate_folder(channels, tmp_path / "masks")
    assert {report.labels[n]: scores.dice for n, scores in report.by_class().items()} == {
        "heart": 1,
        "lungs": pytest.approx(2 / 3),
    }
    (channels / "labels.json").unlink()
    assert evaluate_folder(channels, tmp_path / "masks").labels == {1: "1", 2: "2"}


def test_a_case_that_lacks_a_class_is_left_out_and_said_so(channels: Path, tmp_path: Path) -> None:
    put(channels / "b.nii.gz", columns(4), columns(6))
    for name, cases in (("heart", "ab"), ("lungs", "a")):
        for case in cases:
            put(tmp_path / "masks" / name / f"{case}.nii.gz", columns(4))
    report = evaluate_folder(channels, tmp_path / "masks")
    assert [case.name for case in report.cases] == ["a"]
    assert [str(problem) for problem in report.problems] == ["reference b.nii.gz has no mask of lungs"]


def test_a_series_of_images_is_no_mask() -> None:
    noise = Image(np.random.default_rng(0).integers(0, 200, (3, *GRID.shape)), GRID)
    with pytest.raises(InputError, match=r"channel 1 of 3 holds more values"):
        evaluate_masks(noise, noise, {1: "one"})
