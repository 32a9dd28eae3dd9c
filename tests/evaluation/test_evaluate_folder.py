from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unimiss import Geometry, Image, write
from unimiss.cli import main
from unimiss.errors import InputError
from unimiss.evaluation import CaseScores, Report, Scores, evaluate_folder, write_csv

GRID = Geometry.from_spacing((6, 8, 8), (2, 1, 1))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: `a` predicted perfectly; in `b` class 2 is missed and class 1 half found."""
    predictions, references = tmp_path / "predictions", tmp_path / "data" / "labelsTs"
    for name in "ab":
        put(references / f"{name}.nii.gz", mask({1: slice(0, 4), 2: slice(6, 8)}))
    put(predictions / "a.mha", mask({1: slice(0, 4), 2: slice(6, 8)}))
    put(predictions / "b.nii.gz", mask({1: slice(2, 6)}))
    return predictions, references


def mask(columns: dict[int, slice]) -> NDArray[np.uint8]:
    array = np.zeros((1, *GRID.shape), np.uint8)
    for label, where in columns.items():
        array[..., where] = label
    return array


def put(path: Path, array: NDArray[np.generic], grid: Geometry = GRID) -> None:
    write(Image(array, grid), path)


def test_masks_are_matched_by_name_and_means_are_over_cases_then_classes(folders: tuple[Path, Path]) -> None:
    heard = []
    report = evaluate_folder(*folders, listener=lambda share, name: heard.append((share, name)))
    assert [case.name for case in report.cases] == ["a", "b"]
    assert report.problems == ()
    one, two = report.by_class().values()
    assert (one.dice, two.dice) == (0.75, 0.5)
    assert one.iou == pytest.approx((1 + 1 / 3) / 2)
    assert (one.hd95, two.hd95) == (1, 0)  # 0 and 2 mm; class 2 has a distance in case a only
    assert one.volume == one.reference_volume == pytest.approx(6 * 8 * 4 * 2 / 1000)
    assert report.mean().dice == 0.625
    assert heard == [(0.5, "a"), (1, "b")]


def test_a_table_has_a_row_for_each_class_and_says_how_many_cases_count(folders: tuple[Path, Path]) -> None:
    header, rows = evaluate_folder(*folders).table()
    assert header[-3:] == ("HD95 mm", "ASSD mm", "surface Dice 1 mm")
    assert [(*row[:3], *row[4:6]) for row in rows] == [
        ("1", "2", "0.750", "0.667", "1.00"),
        ("2", "2", "0.500", "0.500", "0.00 (n=1)"),
        ("mean", "2", "0.625", "0.583", "0.50"),
    ]
    assert [row[3] for row in rows] == ["0.500–1.000", "0.000–1.000", "0.250–1.000"]  # of two cases


def test_json_holds_everything_and_nothing_that_json_does_not_know(folders: tuple[Path, Path]) -> None:
    (folders[0] / "labels.json").write_text('{"0": "background", "1": "liver", "2": "spleen"}')
    (folders[0] / "c.nii.gz").write_text("damaged")
    put(folders[1] / "c.nii.gz", mask({}))
    value = json.loads(json.dumps(evaluate_folder(*folders).to_json(), allow_nan=False))
    assert value["labels"] == {"1": "liver", "2": "spleen"}
    assert value["mean"]["dice"] == 0.625
    assert value["classes"]["liver"]["dice"] == 0.75
    case = value["cases"][1]
    assert (case["name"], case["units"]) == ("b", "mm")
    assert case["classes"]["spleen"] == {
        **{"dice": 0, "iou": 0, "hd95": None, "assd": None, "surface_dice": 0},
        **{"volume": 0, "reference_volume": pytest.approx(0.192)},
    }
    [problem] = value["problems"]
    assert (problem["case"], problem["kind"]) == ("c.nii.gz", "unusable")
    spleen = value["statistics"]["classes"]["spleen"]
    assert spleen["dice"] == {
        **{"n": 2, "mean": 0.5, "sd": pytest.approx(0.5**0.5), "median": 0.5, "q1": 0.25, "q3": 0.75},
        **{"lowest": 0, "highest": 1, "interval": [0, 1]},
    }
    assert (spleen["hd95"]["n"], spleen["hd95"]["sd"]) == (1, None)
    assert value["statistics"]["mean"]["dice"]["mean"] == 0.625


def test_names_come_from_the_predictions_else_from_the_data_set_else_are_numbers(
    folders: tuple[Path, Path],
) -> None:
    predictions, references = folders
    assert evaluate_folder(*folders).labels == {1: "1", 2: "2"}
    dataset = references.parent / "dataset.json"
    dataset.write_text('{"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}')
    assert evaluate_folder(*folders).labels == {1: "Anterior", 2: "Posterior"}
    dataset.write_text('{"labels": {"background": 0, "liver": 2, "lung": 1}}')
    assert evaluate_folder(*folders).labels == {1: "lung", 2: "liver"}
    (predictions / "labels.json").write_text('{"1": "heart"}')
    report = evaluate_folder(*folders)
    assert report.labels == {1: "heart"}
    assert report.mean().dice == 0.75


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"1": 2, "x": "y"}', '["1"]', '"1"', "null"])
def test_damaged_names_are_refused_by_file(folders: tuple[Path, Path], content: str) -> None:
    (folders[0] / "labels.json").write_text(content)
    with pytest.raises(InputError, match=r"labels\.json is damaged"):
        evaluate_folder(*folders)


def test_what_cannot_be_scored_is_named_and_left_out(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    for name in ("damaged", "moved", "image", "alone", "twice"):
        put(references / f"{name}.nii.gz", mask({1: slice(0, 2)}))
    (predictions / "damaged.nii.gz").write_bytes(b"x" * 100)
    put(predictions / "moved.nii.gz", mask({1: slice(0, 2)}), GRID.cropped((1, 0, 0), GRID.shape))
    put(predictions / "image.nii.gz", np.random.default_rng(0).normal(size=(1, *GRID.shape)))
    put(predictions / "stranger.nii.gz", mask({}))
    put(predictions / "a_probabilities.nii.gz", np.zeros((3, *GRID.shape), np.float32))
    put(predictions / "twice.nii.gz", mask({}))
    put(predictions / "twice.nrrd", mask({}))
    (predictions / ".part.a.nii.gz").write_text("x")
    (predictions / "notes.txt").write_text("x")
    report = evaluate_folder(*folders)
    assert [case.name for case in report.cases] == ["a", "b"]
    expected = (
        ("missing", "alone.nii.gz has no prediction"),
        ("unusable", "twice.nii.gz is the name of 2 predictions and 1 reference"),
        ("unreferenced", "stranger.nii.gz has no reference"),
        ("unusable", "prediction damaged.nii.gz: it is damaged"),
        ("unusable", "prediction image.nii.gz: a mask holds whole numbers"),
        ("unusable", "moved.nii.gz: the prediction lies on another grid than its reference"),
    )
    assert len(report.problems) == len(expected)
    for (kind, words), problem in zip(expected, report.problems, strict=True):
        assert problem.kind == kind
        assert str(problem).startswith(words)  # without the folders, which may be called after patients


def test_what_is_wrong_is_said_of_prediction_or_reference(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").write_bytes(b"x" * 100)
    [problem] = evaluate_folder(*folders).problems
    assert str(problem).startswith("reference b.nii.gz: it is damaged")


def test_the_command_succeeds_and_names_what_it_left_out_if_anything_was_scored(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[0] / "a.mha").write_bytes(b"x" * 100)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, folders)])
    assert not ended.value.code
    assert "left out: prediction a.mha: it is damaged" in capsys.readouterr().out
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, folders)])
    assert ended.value.code == 2


@pytest.mark.parametrize("named", ["a.dcm", ""])
def test_masks_in_dicom_are_said_not_to_be_read(
    folders: tuple[Path, Path], tmp_path: Path, named: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.json").write_text('{"1": "liver"}')
    (tmp_path / "out" / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match=r"masks in DICOM are not read here; predict .* --format nii\.gz"):
        evaluate_folder(tmp_path / "out" / named, folders[1])


def test_one_file_is_scored_against_one_file_of_any_name_or_its_partner_in_a_folder(
    folders: tuple[Path, Path],
) -> None:
    predictions, references = folders
    assert evaluate_folder(predictions / "a.mha", references / "b.nii.gz").mean().dice == 1
    report = evaluate_folder(predictions / "b.nii.gz", references)
    assert (len(report.cases), report.problems) == (1, ())
    assert report.mean().dice == 0.25
    (predictions / "labels.json").write_text('{"1": "heart"}')
    assert evaluate_folder(predictions / "b.nii.gz", references).labels == {1: "heart"}


def test_nothing_to_score_is_an_error(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, references = folders
    with pytest.raises(InputError, match=r"lost: there is no such file or folder"):
        evaluate_folder(tmp_path / "lost", references)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: there is no mask in this folder"):
        evaluate_folder(predictions, tmp_path / "empty")
    put(tmp_path / "others" / "c.nii.gz", mask({}))
    with pytest.raises(
        InputError, match=r"no mask of .*others could be scored; .*a.nii.gz has no prediction"
    ):
        evaluate_folder(tmp_path / "others", references)


def test_an_image_given_in_place_of_masks_is_recognised(tmp_path: Path) -> None:
    values = np.arange(np.prod(GRID.shape), dtype=np.int32).reshape(1, *GRID.shape)
    put(tmp_path / "ct.nii.gz", values)
    with pytest.raises(InputError, match="different values, so they are images, not masks"):
        evaluate_folder(tmp_path / "ct.nii.gz", tmp_path / "ct.nii.gz")


def test_radiographs_are_scored_in_pixels(tmp_path: Path) -> None:
    flat = Geometry.from_spacing((8, 8), units="pixel")
    for folder in ("predictions", "references"):
        put(tmp_path / folder / "chest.png", np.eye(8, dtype=np.uint8)[None], flat)
    report = evaluate_folder(tmp_path / "predictions", tmp_path / "references")
    assert report.cases[0].units == "pixel"
    assert math.isnan(report.mean().volume)


def test_a_score_that_is_defined_nowhere_stays_undefined() -> None:
    report = Report({1: "liver"}, (CaseScores("a", Path("a"), Path("b"), "mm", {1: Scores()}),))
    assert math.isnan(report.mean().dice)
    assert report.table()[1] == [("liver", "0", *"––––––"), ("mean", "0", *"––––––")]
    assert report.to_json()["mean"]["dice"] is None


def test_two_classes_of_one_name_are_refused(folders: tuple[Path, Path]) -> None:
    (folders[0] / "labels.json").write_text('{"1": "kidney", "2": "kidney"}')
    with pytest.raises(InputError, match=r"labels\.json gives two label values the same name"):
        evaluate_folder(*folders)


def test_a_table_of_references_names_masks_images_and_patients(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    table = references.parent / "cases.csv"
    (references / "a.nii.gz").rename(references / "true.nii.gz")
    table.write_text(
        "patient,image,label\nanna,scans/a.nrrd,labelsTs/true.nii.gz\n,scans/b.nii.gz,labelsTs/b.nii.gz\n"
    )
    report = evaluate_folder(predictions, table)
    assert [(case.name, case.patient) for case in report.cases] == [("a", "anna"), ("b", "")]
    scans = references.parent / "scans"
    assert [case.image for case in report.cases] == [scans / "a.nrrd", scans / "b.nii.gz"]
    assert (report.mean().dice, report.patients) == (0.625, 1)


def test_images_of_one_patient_are_drawn_together(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    table = references.parent / "cases.csv"
    table.write_text("image,label,patient\na,labelsTs/a.nii.gz,anna\nb,labelsTs/b.nii.gz,anna\n")
    interval = evaluate_folder(predictions, table).statistics[-1]["dice"].interval
    assert all(math.isnan(end) for end in interval)  # one patient says nothing about spread
    table.write_text("image,label\na,labelsTs/a.nii.gz\nb,labelsTs/b.nii.gz\n")
    assert evaluate_folder(predictions, table).statistics[-1]["dice"].interval == (0.25, 1)


def test_a_line_of_the_csv_is_a_case_and_class_or_what_was_left_out(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    put(folders[1] / "lost.nii.gz", mask({}))
    write_csv(evaluate_folder(*folders), tmp_path / "cases.csv")
    with open(tmp_path / "cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"], row["dice"]) for row in rows] == [
        ("a", "1", "1.0"),
        ("a", "2", "1.0"),
        ("b", "1", "0.5"),
        ("b", "2", "0"),
        ("lost.nii.gz", "", ""),
    ]
    assert (rows[3]["hd95"], rows[4]["problem"]) == ("", "lost.nii.gz has no prediction")


def test_a_row_that_no_file_can_fit_is_left_out(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    table = references.parent / "cases.csv"
    table.write_text(f"image,label\na,labelsTs/{'long' * 2000}.nii.gz\nb,labelsTs/b.nii.gz\n")
    report = evaluate_folder(predictions, table)
    assert [case.name for case in report.cases] == ["b"]
    assert [problem.kind for problem in report.problems] == ["unusable"]
