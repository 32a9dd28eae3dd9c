from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from unimiss.errors import InputError
from unimiss.evaluation import ClassificationReport, evaluate_predictions, write_csv

CLASSES = ("healthy", "pneumonia", "effusion")


def table(path: Path, rows: list[list[object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def evaluated(folder: Path, predictions: list[list[object]], references: list[list[object]]):
    return evaluate_predictions(
        table(folder / "predictions.csv", predictions),
        table(folder / "references.csv", references),
        resamples=50,
    )


def values(report: ClassificationReport, row: int = -1) -> dict[str, float]:
    return {name: estimate.value for name, estimate in report.estimates[row].items()}


def cohort(seed: int = 0, count: int = 90):
    """Softmax outputs with some skill, and the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=count)
    scores = generator.normal(size=(count, 3)) + 1.5 * np.eye(3)[truth]
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), truth


def test_exclusive_classes_are_scored_one_against_the_rest_and_averaged(tmp_path: Path) -> None:
    probabilities, truth = cohort()
    decided = probabilities.argmax(axis=1)
    rows = [[f"{i}.png", CLASSES[decided[i]], *p.round(4)] for i, p in enumerate(probabilities)]
    report = evaluated(
        tmp_path,
        [["image", "label", *CLASSES], *rows],
        [["image", "label"], *([f"{i}.png", CLASSES[k]] for i, k in enumerate(truth))],
    )
    assert report.kind == "multi-class"
    found, rounded = values(report), probabilities.round(4)
    ranks = [metrics.roc_auc_score(truth == k, rounded[:, k]) for k in range(3)]
    assert found["auc"] == pytest.approx(np.mean(ranks))
    assert [values(report, k)["auc"] for k in range(3)] == pytest.approx(ranks)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, decided))
    assert found["sensitivity"] == pytest.approx(metrics.balanced_accuracy_score(truth, decided))
    assert report.confusion().tolist() == metrics.confusion_matrix(truth, decided).tolist()
    low, high = report.estimates[-1]["auc"].interval
    assert low < found["auc"] < high


def test_of_two_classes_the_second_is_the_positive_one(tmp_path: Path) -> None:
    report = evaluated(
        tmp_path,
        [
            ["image", "label", "no", "yes"],
            ["a", "no", 0.9, 0.1],
            ["b", "no", 0.6, 0.4],
            ["c", "yes", 0.3, 0.7],
        ],
        [["image", "label"], ["a", "no"], ["b", "yes"], ["c", "yes"]],
    )
    assert (report.kind, report.overall) == ("binary", "positive: yes")
    found = values(report)
    assert (found["sensitivity"], found["specificity"], found["auc"]) == (0.5, 1, 1)
    assert found["brier"] == pytest.approx((0.1**2 + 0.6**2 + 0.3**2) / 3)
    assert found == values(report, 1)
    assert values(report, 0)["sensitivity"] == 1


def test_labels_that_go_together_are_each_scored_for_themselves(tmp_path: Path) -> None:
    report = evaluated(
        tmp_path,
        [
            ["image", "label", "effusion", "node", "a|b"],
            ["1.png", "effusion|node", 0.9, 0.8, 0.1],
            ["2.png", "", 0.2, 0.3, 0.1],
            ["3.png", "a|b", 0.4, 0.1, 0.7],
        ],
        [["image", "label"], ["1.png", "effusion"], ["2.png", ""], ["3.png", "a|b"]],
    )
    assert report.kind == "multi-label"
    assert [values(report, k)["accuracy"] for k in range(3)] == [1, pytest.approx(2 / 3), 1]
    assert math.isnan(values(report, 1)["auc"])  # no image has a node
    assert values(report)["auc"] == 1
    assert report.to_json()["confusion"] is None


@pytest.mark.parametrize("proof", ["references", "predictions", "nothing decided"])
def test_labels_tell_classes_that_go_together_where_probabilities_happen_to_sum_to_1(
    tmp_path: Path, proof: str
) -> None:
    both = "effusion|node" if proof == "references" else "node"
    last = {"references": ("node", 0.4), "predictions": ("effusion|node", 0.9)}.get(proof, ("", 0.1))
    report = evaluated(
        tmp_path,
        [
            ["image", "label", "effusion", "node"],
            ["1", "effusion", 0.51, 0.49],
            ["2", "node", 0.45, 0.55],
            ["3", last[0], last[1], 0.6 if last[0] else 0.2],
        ],
        [["image", "label"], ["1", "effusion"], ["2", both], ["3", ""]],
    )
    assert (report.kind, len(report.cases)) == ("multi-label", 3)


def test_an_empty_label_proves_nothing_where_it_may_be_just_missing(tmp_path: Path) -> None:
    predictions = [["image", "label", "no", "yes"], ["1", "no", 0.9, 0.1], ["2", "yes", 0.2, 0.8]]
    report = evaluated(tmp_path, predictions, [["image", "label"], ["1", "no"], ["2", ""]])
    assert (report.kind, len(report.cases)) == ("binary", 1)
    for row in predictions[1:]:
        row[1] = ""
    with pytest.raises(InputError, match="its prediction names 0 classes"):
        evaluated(tmp_path, predictions, [["image", "label"], ["1", "no"], ["2", "yes"]])


def test_one_column_of_probabilities_is_one_label_that_is_there_or_not(tmp_path: Path) -> None:
    report = evaluated(
        tmp_path,
        [["image", "label", "node"], ["a", "node", 1.0], ["b", "", 0.2]],
        [["image", "label"], ["a", "node"], ["b", ""]],
    )
    assert (report.kind, values(report)["auc"]) == ("multi-label", 1)


def test_what_cannot_be_scored_is_named_and_costs_nothing_else(tmp_path: Path) -> None:
    good = [["good", "yes", 0.2, 0.8], ["fine", "no", 0.7, 0.3], ["well", "no", 0.9, 0.1]]
    bad = [
        ["words", "yes", "x", 0.5],
        ["short", "yes", 0.5],
        ["nan", "yes", "nan", 0.5],
        ["large", "yes", -1, 2],
        ["half", "yes", 0.2, 0.3],
        ["other", "maybe", 0.5, 0.5],
        ["unlabelled", "yes", 0.1, 0.9],
        ["stranger", "yes", 0.1, 0.9],
    ]
    names = ["good", "fine", "well", "words", "short", "nan", "large", "half", "other", "lost"]
    references = [["image", "label"], *([f"{name}.png", "yes"] for name in names), ["unlabelled.png"]]
    report = evaluated(tmp_path, [["image", "label", "no", "yes"], *good, *bad], references)
    assert [case.name for case in report.cases] == ["good.png", "fine.png", "well.png"]
    assert {str(problem).split(".png")[0]: problem.kind for problem in report.problems} == {
        **dict.fromkeys(names[3:-1], "unusable"),
        "unlabelled": "unusable",
        "lost": "missing",
        "stranger has no reference": "unreferenced",
    }
    assert any("names 0 classes" in str(problem) for problem in report.problems)


def test_patients_of_the_references_are_drawn_as_one(tmp_path: Path) -> None:
    probabilities, truth = cohort(count=40)
    predictions = [
        ["image", "label", *CLASSES],
        *([f"{i}", CLASSES[p.argmax()], *p] for i, p in enumerate(probabilities)),
    ]
    references = [["image", "label", "patient"], *([f"{i}", CLASSES[k], "p"] for i, k in enumerate(truth))]
    report = evaluated(tmp_path, predictions, references)
    assert (len(report.cases), report.patients) == (40, 1)
    assert math.isnan(report.estimates[-1]["auc"].interval[0])
    for i, row in enumerate(references[1:]):
        row[2] = f"p{i // 2}"
    report = evaluated(tmp_path, predictions, references)
    assert (report.patients, math.isnan(report.estimates[-1]["auc"].interval[0])) == (20, False)


def test_references_may_be_folders_named_after_the_classes(tmp_path: Path) -> None:
    for name in ("set/no/1.png", "set/yes/1.png", "set/yes/2.png", "set/yes/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    predictions = table(
        tmp_path / "p.csv",
        [
            ["image", "label", "no", "yes"],
            ["no/1.png", "no", 0.8, 0.2],
            ["yes/1.png", "yes", 0.1, 0.9],
            ["yes/2.png", "no", 0.6, 0.4],
        ],
    )
    report = evaluate_predictions(predictions, tmp_path / "set", resamples=10)
    assert (len(report.cases), report.problems) == (3, ())
    assert values(report)["sensitivity"] == 0.5


def test_json_and_csv_hold_every_image_and_what_was_left_out(tmp_path: Path) -> None:
    report = evaluated(
        tmp_path,
        [["image", "label", "no", "yes"], ["a", "no", 0.9, 0.1], ["b", "no", 0.6, 0.4]],
        [["image", "label", "patient"], ["x/a", "no", "Smith"], ["b", "yes", "Miller"], ["c", "no", "Smith"]],
    )
    value = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert value["overall"]["auc"]["value"] == value["classes"]["yes"]["auc"]["value"] == 1
    assert value["cases"][1] == {
        **{"name": "b", "true": ["yes"], "decided": ["no"]},
        "probabilities": [0.6, 0.4],
    }
    write_csv(report, tmp_path / "cases.csv")
    text = (tmp_path / "cases.csv").read_text()
    assert text.splitlines() == [
        "case,reference,label,correct,no,yes,problem",
        "a,no,no,1,0.9,0.1,",
        "b,yes,no,0,0.6,0.4,",
        "c,,,,,,c has no prediction",
    ]
    assert "Smith" not in text + json.dumps(value)


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        ("", "no table of predictions"),
        ("image,label\na,yes\n", "no table of predictions"),
        ("file,label,no\na,yes,1\n", "no table of predictions"),
        ("image,label,no,no\na,no,1,0\n", "two classes have the same name"),
        ("image,label,no,\na,no,1,0\n", "or one has none"),
        ("image,label,no,yes\n", "no image of .* could be scored; a has no prediction"),
        ('image,label,no,yes\n"a,no,1,0', "no CSV in UTF-8"),
        (b"image,label,no,\xff\n", "no CSV in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(tmp_path: Path, predictions: object, words: str) -> None:
    path = tmp_path / "predictions.csv"
    if predictions is not None:
        path.write_bytes(predictions if isinstance(predictions, bytes) else str(predictions).encode())
    references = table(tmp_path / "references.csv", [["image", "label"], ["a", "no"]])
    with pytest.raises(InputError, match=words):
        evaluate_predictions(path, references)


@pytest.mark.parametrize(
    ("references", "words"),
    [
        ("name,label\na,no\n", "no column 'image'"),
        ("image,label\n", "it holds no row"),
        ("", "no column 'image'"),
    ],
)
def test_references_that_lack_something_are_refused(tmp_path: Path, references: str, words: str) -> None:
    (tmp_path / "references.csv").write_text(references)
    predictions = table(tmp_path / "p.csv", [["image", "label", "no", "yes"], ["a", "no", 1, 0]])
    with pytest.raises(InputError, match=words):
        evaluate_predictions(predictions, tmp_path / "references.csv")


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "references.csv").write_bytes("\ufeffImage, Label ,Age\r\na.png, no ,7\r\n,,\r\n".encode())
    predictions = table(tmp_path / "p.csv", [["image", "label", "no", "yes"], ["a", "no", 1, 0]])
    assert len(evaluate_predictions(predictions, tmp_path / "references.csv", resamples=5).cases) == 1
