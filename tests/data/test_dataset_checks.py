"""A bad data set is refused with all of its problems; one bad case is left out; names of classes change."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import unimiss as engine
from unimiss.data.datasets import check_dataset, open_dataset, read_dataset, read_mask
from unimiss.errors import InputError

SHAPE = (6, 8, 8)


def image(number: int, shape=SHAPE, spacing=None) -> engine.Image:
    values = np.random.default_rng(number).integers(0, 99, shape).astype(np.int16)
    return engine.Image(values[None], engine.Geometry.from_spacing(shape, spacing))


def mask(*values: int, shape=SHAPE, spacing=None) -> engine.Image:
    array = np.zeros((1, *shape), np.uint8)
    for place, value in enumerate(values):
        array[..., place] = value
    return engine.Image(array, engine.Geometry.from_spacing(shape, spacing))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four cases without a fault, with two classes."""
    for number in range(4):
        engine.write(image(number), tmp_path / "images" / f"{number}.nii.gz")
        engine.write(mask(1, 2), tmp_path / "masks" / f"{number}.nii.gz")
    return tmp_path


def check(path: Path, accept=()):
    warnings: list[str] = []
    found = check_dataset(read_dataset(path), accept=accept, report=lambda share: None, warn=warnings.append)
    return found, warnings


def refusal(path: Path, accept=()) -> str:
    with pytest.raises(InputError) as refused:
        check(path, accept)
    return str(refused.value)


def table(path: Path, *rows: str) -> Path:
    (path / "cases.csv").write_text("\n".join(rows) + "\n")
    return path / "cases.csv"


def test_a_good_data_set_passes_and_gets_labels_by_value(folder):
    shares: list[float] = []
    dataset = check_dataset(read_dataset(folder), report=shares.append, warn=pytest.fail)
    assert dataset.labels == {0: "background", 1: "1", 2: "2"}
    assert len(dataset.cases) == 4
    assert shares[-1] == 1


def test_all_problems_are_reported_at_once(folder):
    engine.write(mask(1, spacing=(2, 1, 1)), folder / "masks" / "0.nii.gz")
    engine.write(mask(1, 7), folder / "masks" / "1.nii.gz")
    engine.write(mask(), folder / "masks" / "2.nii.gz")
    engine.write(image(0), folder / "images" / "3.nii.gz")
    rows = [
        f"images/{n}.nii.gz,masks/{n}.nii.gz,{who},{split}"
        for n, who, split in [
            (0, "secret", "train"),
            (1, "secret", "test"),
            (2, "b", "train"),
            (3, "c", "somewhere"),
        ]
    ]
    said = refusal(table(folder, "image,label,patient,split", *rows, "images/3.nii.gz,masks/3.nii.gz,c,val"))
    lines = said.splitlines()
    assert "5 problems" in lines[0]
    assert len(lines) == 6
    for words in (
        "spacing is 2 x 1 x 1, not 1 x 1 x 1",
        "2.nii.gz is empty",
        "found 'somewhere'",
        "one patient",
        "3.nii.gz is the same image as",
    ):
        assert sum(words in line for line in lines) == 1, words
    assert "secret" not in said


def test_values_that_the_data_set_does_not_name_are_problems(folder):
    cases = [{"image": f"images/{n}.nii.gz", "label": f"masks/{n}.nii.gz"} for n in range(4)]
    for labels, count in (({"0": "background", "1": "a"}, 4), ({"0": "background", "1": "a", "2": "b"}, 0)):
        (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": cases}))
        if count:
            assert refusal(folder).count("holds the values [2]") == count
        else:
            assert len(check(folder)[0].cases) == 4


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.diag([1, 1, 1.01, 1]), "spacing"),
        (np.array([[1, 0, 0, 0], [0, 1, 0.05, 0], [0, -0.05, 1, 0], [0, 0, 0, 1]]), "directions|spacing"),
        (np.array([[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "first voxel lies at 4 x 0 x 0"),
        (np.diag([1, 1, 1 + 1e-6, 1]), None),
    ],
)
def test_a_mask_on_another_grid_is_named_with_how_it_differs(folder, matrix, said):
    moved = engine.Image(mask(1, 2).array, engine.Geometry(SHAPE, matrix))
    engine.write(moved, folder / "masks" / "2.nii.gz")
    if said is None:
        assert len(check(folder)[0].cases) == 4
        return
    with pytest.raises(InputError, match=said) as refused:
        check(folder)
    assert "masks/2.nii.gz does not lie on its image 2.nii.gz" in str(refused.value)


def test_a_mask_of_another_size_is_named(folder):
    engine.write(mask(1, 2, shape=(6, 8, 9)), folder / "masks" / "1.nii.gz")
    assert "its shape is" in refusal(folder)


def test_empty_masks_may_be_accepted(folder):
    engine.write(mask(), folder / "masks" / "1.nii.gz")
    dataset, warnings = check(folder, accept=["empty masks"])
    assert len(dataset.cases) == 4
    assert "1.nii.gz is empty" in warnings[0]


def test_equal_images_are_found_whatever_their_compression_and_the_first_is_kept_if_accepted(folder):
    plain = gzip.decompress((folder / "images" / "0.nii.gz").read_bytes())
    (folder / "images" / "3.nii.gz").write_bytes(gzip.compress(plain, 1, mtime=5))
    assert "images/3.nii.gz is the same image as" in refusal(folder)
    dataset, warnings = check(folder, accept=["duplicates"])
    assert [case.name for case in dataset.cases] == ["0", "1", "2"]
    assert len(warnings) == 1


def test_an_image_that_repeats_one_of_its_patient_is_left_out(folder):
    source = folder / "images" / "0.nii.gz"
    for name, of in (
        ("a/00000001_000", 0),
        ("a/00000001_001", 0),
        ("a/00000002_000", 1),
        ("b/00000003_000", 2),
    ):
        path = folder / "classes" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.with_name(f"{of}.nii.gz").read_bytes())
    dataset, warnings = check(folder / "classes")
    assert [case.name for case in dataset.cases] == ["00000001_000", "00000002_000", "00000003_000"]
    assert "same patient" in warnings[0]
    (folder / "classes" / "b" / "00000001_002.nii.gz").write_bytes(source.read_bytes())
    assert "same image" in refusal(folder / "classes")  # as another class


def test_one_damaged_or_missing_case_is_left_out_by_name(folder):
    rows = [f"images/{n}.nii.gz,masks/{n}.nii.gz" for n in range(5)]
    (folder / "images" / "1.nii.gz").write_bytes(b"no image")
    engine.write(mask(1).with_array(np.full((1, *SHAPE), np.nan, np.float32)), folder / "masks" / "2.nii.gz")
    dataset, warnings = check(table(folder, "image,label", *rows))
    assert [case.name for case in dataset.cases] == ["0", "3"]
    assert len(warnings) == 3
    for name in ("images/1.nii.gz", "masks/2.nii.gz", "images/4.nii.gz"):
        assert any(name in line for line in warnings)


def test_nothing_but_damaged_cases_is_refused(folder):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"")
    assert "none of the 4 labelled cases" in refusal(folder)


def test_volumes_among_flat_images_are_refused(folder):
    flat = engine.Image(np.ones((1, 8, 8), np.uint8), engine.Geometry.from_spacing((8, 8)))
    for name in ("images", "masks"):
        engine.write(flat, folder / name / "flat.png")
    assert "mixes 4 volumes and 1 flat images" in refusal(folder)


def test_patients_and_folds_are_kept_apart(folder):
    rows = [f"images/{n}.nii.gz,{'ab'[n % 2]},p{n // 2},{n}" for n in range(4)]
    said = refusal(table(folder, "image,label,patient,fold", *rows))
    assert said.count("one patient") == 2
    rows = [f"images/{n}.nii.gz,{'ab'[n % 2]},p{n // 2},{n // 2}" for n in range(4)]
    assert len(check(table(folder, "image,label,patient,fold", *rows))[0].cases) == 4


def test_a_long_list_of_equal_problems_is_cut(folder):
    rows = [f"images/{n}.nii.gz,a,x" for n in range(4)] + [f"{n}.nii.gz,a,b" for n in range(60)]
    said = refusal(table(folder, "image,label,fold", *rows))
    assert "64 problems" in said
    assert "and 14 more of the same kind" in said


def opened(path: Path, labels=None, ignore=()):
    return open_dataset(
        path, labels=labels or {}, ignore=ignore, accept=(), report=lambda share: None, warn=pytest.fail
    )


def test_classes_are_joined_renamed_and_ignored_by_name(folder):
    dataset = opened(folder, {"1": "organ", "2": "organ"})
    assert dataset.labels == {0: "background", 1: "organ"}
    assert set(np.unique(read_mask(dataset.cases[0], dataset).array[..., :2])) == {1}
    dataset = opened(folder, {"2": "tumour"}, ["1"])
    assert dataset.labels == {0: "background", 2: "tumour"}
    assert set(np.unique(read_mask(dataset.cases[0], dataset).array)) == {0, 2}
    dataset = opened(folder, {"1": "2"})
    assert dataset.labels == {0: "background", 2: "2"}
    assert set(np.unique(read_mask(dataset.cases[0], dataset).array)) == {0, 2}


def test_classes_of_cases_are_joined_and_ignored_by_name(folder):
    rows = [f"images/{n}.nii.gz,{name}" for n, name in enumerate(("viral", "bacterial", "normal", "other"))]
    path = table(folder, "image,label", *rows)
    dataset = opened(path, {"viral": "pneumonia", "bacterial": "pneumonia"}, ["other"])
    assert set(dataset.labels.values()) == {"pneumonia", "normal"}
    assert list(dataset.labels) == [0, 1]
    assert [case.classes for case in dataset.cases] == [("pneumonia",), ("pneumonia",), ("normal",)]


def test_an_ignored_class_of_a_multi_label_data_set_leaves_its_cases(folder):
    rows = [f"images/{n}.nii.gz,{name}" for n, name in enumerate(("a|b", "b", "none", "a"))]
    dataset = opened(table(folder, "image,label", *rows), ignore=["none"])
    assert [case.classes for case in dataset.cases] == [("a", "b"), ("b",), (), ("a",)]


@pytest.mark.parametrize(
    ("labels", "ignore", "said"),
    [
        ({"liver": "x"}, (), "no class 'liver'.*1, 2"),
        ({}, ("3",), "no class '3'"),
        ({}, ("1", "2"), "no class is left"),
    ],
)
def test_a_name_that_is_no_class_is_refused(folder, labels, ignore, said):
    with pytest.raises(InputError, match=said):
        opened(folder, labels, ignore)


def test_voxels_that_nobody_labelled_are_not_taken_for_a_class(folder):
    for name in ("images", "masks"):
        (folder / name).rename(folder / {"images": "imagesTr", "masks": "labelsTr"}[name])
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "ignore": 2}}))
    found, background = opened(folder), opened(folder, ignore=["ignore"])
    assert found.labels == background.labels == {0: "background", 1: "liver"}
    assert (found.unknown, background.unknown) == ((2,), ())


def test_one_class_is_none_to_tell_apart(folder):
    rows = [f"images/{n}.nii.gz,normal" for n in range(4)]
    assert "no two classes" in refusal(table(folder, "image,label", *rows))


def test_a_file_that_is_image_and_mask_of_one_case_is_refused(folder):
    rows = [f"images/{n}.nii.gz,masks/{n}.nii.gz" for n in range(3)]
    said = refusal(table(folder, "image,label", *rows, "masks/3.nii.gz,masks/3.nii.gz"))
    assert "masks/3.nii.gz is named as the image and as the mask of one case" in said
    assert "1 problem" in said


def test_equal_modalities_of_a_case_are_refused_even_where_duplicates_are_accepted(folder):
    (folder / "images" / "pet.nii.gz").write_bytes((folder / "images" / "0.nii.gz").read_bytes())
    rows = ["images/0.nii.gz|images/pet.nii.gz,a", "images/1.nii.gz|images/2.nii.gz,b"]
    said = refusal(table(folder, "image,label", *rows), accept=["duplicates"])
    assert "pet.nii.gz is the same image as" in said
    assert "each modality needs a file of its own" in said


def test_channels_that_no_one_named_are_called_channels(folder):
    planes = np.ones((3, *SHAPE), np.uint8)
    for path in (folder / "masks").iterdir():
        engine.write(engine.Image(planes, engine.Geometry.from_spacing(SHAPE)), path)
    (folder / "masks" / "labels.json").write_text(json.dumps({"1": "heart", "2": "lungs"}))
    assert "holds the channels [3], which the data set does not name" in refusal(folder)


def test_a_class_is_not_renamed_and_ignored_at_once(folder):
    with pytest.raises(InputError, match=r"'2' is in 'labels' and in 'ignore'.*called 'x', or not learned"):
        opened(folder, {"2": "x"}, ["2"])


def test_lines_without_a_patient_stop_nothing_and_are_warned_of(folder):
    rows = [f"images/{n}.nii.gz,masks/{n}.nii.gz,{'p' * n}" for n in range(4)]
    dataset, warnings = check(table(folder, "image,label,patient", *rows))
    assert len(dataset.cases) == 4
    assert ["names no patient" in line for line in warnings] == [True]
