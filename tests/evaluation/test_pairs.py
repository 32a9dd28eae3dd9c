from __future__ import annotations

from pathlib import Path

import pytest

from unimiss.evaluation.pairs import match, pair_masks


def kinds(predictions: list[str], references: list[str]) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.case) for problem in match(predictions, references).problems)


def test_names_pair_whatever_their_suffixes_and_folders() -> None:
    found = match(["/out/b.nii.gz", "/out/a.png"], ["scans/a.mha", "C:\\scans\\b.nrrd"])
    assert (found.pairs, found.problems) == ([(1, 0), (0, 1)], [])


def test_equal_names_are_told_apart_by_as_many_folders_as_it_takes() -> None:
    names = ["x/p1/ct/image.nii", "x/p2/ct/image.nii", "y/p2/ct/image.nii"]
    found = match(names, names[::-1])
    assert (found.pairs, found.problems) == ([(2, 0), (1, 1), (0, 2)], [])
    assert match(["/data/A/1.png", "/data/B/1.png"], ["B/1.png", "A/1.png"]).pairs == [(1, 0), (0, 1)]


def test_of_equal_names_only_those_with_a_partner_are_paired() -> None:
    found = match(["A/1.png"], ["A/1.png", "B/1.png"])
    assert found.pairs == [(0, 0)]
    assert [(problem.kind, str(problem)) for problem in found.problems] == [
        ("missing", "1.png has no prediction")
    ]


@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        (["1.png"], ["A/1.png", "B/1.png"]),
        (["1.png", "1.nii"], ["1.png"]),
        (["a/1.png"] * 2, ["a/1.png"] * 2),
    ],
)
def test_what_nothing_tells_apart_is_not_guessed(predictions: list[str], references: list[str]) -> None:
    assert match(predictions, references).pairs == []
    assert kinds(predictions, references) == [("unusable", "1.png")]


def test_what_has_no_partner_is_named_by_its_file_alone() -> None:
    assert kinds(["/patients/Miller/x.nii"], ["/patients/Smith/y.nii"]) == [
        ("missing", "y.nii"),
        ("unreferenced", "x.nii"),
    ]


def test_a_path_as_deep_as_a_hostile_table_can_make_it_is_no_trouble() -> None:
    deep = "a/" * 5000
    assert match([f"x/{deep}1", f"y/{deep}1"], [f"y/{deep}1", f"x/{deep}1"]).pairs == [(1, 0), (0, 1)]


def test_masks_called_like_nnunets_images_pair_with_references_without_the_number(tmp_path: Path) -> None:
    for name in ("out/p0_0000.nii.gz", "out/p1_0000.nii.gz", "labelsTr/p0.nii.gz", "labelsTr/p1.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs, problems = pair_masks(tmp_path / "out", tmp_path / "labelsTr")
    names = [(pair.prediction.path.name, pair.reference.path.name) for pair in pairs]
    assert names == [(f"p{n}_0000.nii.gz", f"p{n}.nii.gz") for n in range(2)]
    assert problems == []


def test_an_exact_name_comes_before_one_without_the_number() -> None:
    found = match(["a_0000.nii", "a.nii", "b.nii"], ["a.nii", "x/b_0000.nii", "a_0000.nii"])
    assert (found.pairs, found.problems) == ([(1, 0), (2, 1), (0, 2)], [])
    assert match(["a_0000.nii", "a.nii"], ["a.nii"]).pairs == [(1, 0)]
    assert kinds(["a_0000.nii", "a.nii"], ["a.nii"]) == [("unreferenced", "a_0000.nii")]


def test_two_that_are_one_name_without_the_number_are_not_guessed() -> None:
    assert match(["a_0000.nii", "a_0000.png"], ["a.nii"]).pairs == []
    assert kinds(["a_0000.nii", "a_0000.png"], ["a.nii"]) == [("unusable", "a.nii")]
