"""Tables and lists of cases become the same value as folders do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from laid_out import problems, shown, text, touch

from unimiss.data.datasets import read_dataset
from unimiss.errors import InputError


def test_a_table_names_classes_patients_splits_and_folds(tmp_path):
    touch(tmp_path, "x/a.png", "x/b.png", "x/c.png")
    lines = ["image,label,patient,split,fold", "x/a.png,covid,p1,train,0", "x/b.png,normal,p2,val,1"]
    dataset = read_dataset(text(tmp_path, "cases.csv", *lines, "x/c.png,covid,p3,test,"))
    assert (dataset.kind, dataset.overlapping) == ("classification", False)
    assert dataset.labels == {0: "covid", 1: "normal"}
    assert [case.classes for case in dataset.cases] == [("covid",), ("normal",), ("covid",)]
    assert [case.patient for case in dataset.cases] == ["p1", "p2", "p3"]
    assert [case.split for case in dataset.cases] == ["training", "validation", "test"]
    assert [case.fold for case in dataset.cases] == [0, 1, None]
    assert read_dataset(tmp_path) == replace(dataset, name=tmp_path.name)


def test_several_classes_in_a_cell_make_a_multi_label_data_set(tmp_path):
    touch(tmp_path, "images/00000001_000.png", "images/00000001_001.png", "images/00000002_000.png")
    lines = [
        "Image Index;Finding Labels",
        "00000001_000.png;Effusion|Mass",
        "00000001_001.png;",
        "00000002_000.png;Mass",
    ]
    dataset = read_dataset(text(tmp_path, "Data_Entry.csv", *lines).parent)
    assert dataset.overlapping
    assert [case.classes for case in dataset.cases] == [("Effusion", "Mass"), (), ("Mass",)]
    assert [case.patient for case in dataset.cases] == ["00000001", "00000001", "00000002"]
    assert dataset.cases[0].image == tmp_path / "images" / "00000001_000.png"


def test_a_column_for_each_class_and_names_without_suffix_are_read(tmp_path):
    touch(tmp_path, "Training_Input/ISIC_1.jpg", "Training_Input/ISIC_2.jpg")
    lines = ["image,MEL,NV", "ISIC_1,1.0,0.0", "ISIC_2,0.0,1.0"]
    text(tmp_path / "Training_GroundTruth", "Training_GroundTruth.csv", *lines)
    dataset = read_dataset(tmp_path)
    assert not dataset.overlapping
    assert {case.image.name: case.classes for case in dataset.cases} == {
        "ISIC_1.jpg": ("MEL",),
        "ISIC_2.jpg": ("NV",),
    }


def test_a_table_may_name_masks_and_modalities(tmp_path):
    touch(tmp_path, "ct.nii.gz", "pet.nii.gz", "seg.nii.gz")
    dataset = read_dataset(text(tmp_path, "t.csv", "image,label", "ct.nii.gz|pet.nii.gz,seg.nii.gz"))
    assert dataset.kind == "segmentation"
    assert shown(dataset, tmp_path) == [("ct.nii.gz", "pet.nii.gz", "seg.nii.gz")]


def test_several_masks_in_a_cell_overlap_and_are_named_by_their_folders(tmp_path):
    touch(tmp_path, "a.png", "heart/a.png", "lungs/a.png")
    dataset = read_dataset(text(tmp_path, "t.csv", "image,label", "a.png,heart/a.png|lungs/a.png"))
    assert dataset.overlapping
    assert dataset.labels == {0: "background", 1: "heart", 2: "lungs"}


@pytest.mark.parametrize("between", [" ", "\t"])
def test_a_list_of_paths_and_labels_is_read(tmp_path, between):
    touch(tmp_path, "scans/my case.nii.gz", "scans/b.nii.gz")
    (tmp_path / "train.txt").write_text(f"# path label\nscans/my case.nii.gz{between}1\n")
    (tmp_path / "test.txt").write_text(f"scans/b.nii.gz{between}0\n")
    dataset = read_dataset(tmp_path)
    assert dataset.labels == {0: "0", 1: "1"}
    found = {case.image.name: (case.classes, case.split) for case in dataset.cases}
    assert found == {"b.nii.gz": (("0",), "test"), "my case.nii.gz": (("1",), "training")}


def test_several_tables_need_the_names_of_splits(tmp_path):
    for name in ("one.csv", "two.csv"):
        text(tmp_path, name, "image,label", "a.png,x")
    with pytest.raises(InputError, match=r"one\.csv, two\.csv"):
        read_dataset(tmp_path)


def test_a_file_that_is_missing_is_not_replaced_by_another_patients_of_the_same_name(tmp_path):
    touch(tmp_path, *(f"p{n}/{name}.png" for n in range(3) for name in ("scan", "m")))
    rows = [f"p{n}/scan.png,p{n}/m.png" for n in range(3)]
    text(tmp_path, "t.csv", "image,label", *rows, "p9/scan.png,p9/m.png", "p2/scan.png,p8/m.png")
    cases = read_dataset(tmp_path).cases
    assert [case.image for case in cases[2:]] == [tmp_path / f"p{n}/scan.png" for n in (2, 9, 2)]
    assert [case.masks[0] for case in cases[2:]] == [tmp_path / f"p{n}/m.png" for n in (2, 9, 8)]


def test_a_list_from_another_place_finds_its_files_by_name_unless_the_folders_tell_the_patient(tmp_path):
    touch(tmp_path, "here/p0/scan.png", "here/p1/scan.png", "here/deep/c7.png")
    rows = ["old/p0/scan.png,a", "old/p1/scan.png,b", "old/c7.png,b", "old/q7/scan.png,a"]
    found = read_dataset(text(tmp_path, "t.csv", "image,label", *rows)).cases
    expected = ["here/p0/scan.png", "here/p1/scan.png", "here/deep/c7.png", "old/q7/scan.png"]
    assert [case.image for case in found] == [tmp_path / name for name in expected]


def test_paths_of_each_table_are_relative_to_its_own_folder(tmp_path):
    for split, label in (("train", "a"), ("test", "b")):
        touch(tmp_path, f"{split}/images/0.png")
        text(tmp_path / split, f"{split}.csv", "image,label", f"images/0.png,{label}")
    found = {case.image: (case.classes[0], case.split) for case in read_dataset(tmp_path).cases}
    assert found == {
        tmp_path / "train/images/0.png": ("a", "training"),
        tmp_path / "test/images/0.png": ("b", "test"),
    }


def test_a_name_that_several_files_have_is_a_problem_that_names_them(tmp_path):
    touch(tmp_path, "images/c0.png", "masks/c0.png", "images/c1.png")
    dataset = read_dataset(text(tmp_path, "t.csv", "image,label", "c0.png,covid", "c1.png,normal"))
    assert [case.name for case in dataset.cases] == ["c1"]
    said = problems(dataset, "entries")
    assert f"line 2: c0.png may be {tmp_path / 'images/c0.png'} or {tmp_path / 'masks/c0.png'};" in said


@pytest.mark.parametrize("head", ["image,sex,covid,normal", "image,covid,Age,normal"])
def test_columns_of_the_patients_sex_and_age_are_no_classes(tmp_path, head):
    touch(tmp_path, "x0.png", "x1.png")
    values = {"image": ("x0.png", "x1.png"), "covid": "01", "normal": "10", "sex": "11", "Age": "10"}
    rows = [",".join(values[name][n] for name in head.split(",")) for n in range(2)]
    dataset = read_dataset(text(tmp_path, "t.csv", head, *rows))
    assert [case.classes for case in dataset.cases] == [("normal",), ("covid",)]


def test_a_cell_that_is_neither_0_nor_1_is_named_and_its_class_stays(tmp_path):
    touch(tmp_path, *(f"x{n}.png" for n in range(4)))
    rows = ["x0.png,1,0,0", "x1.png,0,yes,0", "x2.png,0,1,0", "x3.png,0,1"]
    dataset = read_dataset(text(tmp_path, "t.csv", "image,covid,normal,other", *rows))
    assert [case.classes for case in dataset.cases] == [("covid",), ("normal",)]
    said = problems(dataset, "entries")
    assert "line 3: the column of a class holds 0 or 1, found 'yes' in normal" in said
    assert "line 5: it has 3 cells, the header 4" in said


def test_one_column_of_0_and_1_is_refused_with_what_to_do(tmp_path):
    touch(tmp_path, "x0.png", "x1.png")
    text(tmp_path, "t.csv", "image,covid", "x0.png,1", "x1.png,0")
    for path in (tmp_path, tmp_path / "t.csv"):
        with pytest.raises(InputError, match=r"one column of 0 and 1, covid.*call it label"):
            read_dataset(path)


@pytest.mark.parametrize("fold", ["²", "1.5", "-1"])
def test_a_fold_that_is_no_number_is_a_problem_of_its_line(tmp_path, fold):
    touch(tmp_path, "x0.png", "x1.png")
    dataset = read_dataset(text(tmp_path, "t.csv", "image,label,fold", "x0.png,a,0", f"x1.png,²,{fold}"))
    assert f"line 3: a fold is a number from 0, found {fold!r}" in problems(dataset, "entries")


def test_classes_may_be_called_what_looks_like_a_number(tmp_path):
    touch(tmp_path, "x0.png", "x1.png")
    dataset = read_dataset(text(tmp_path, "t.csv", "image,label", "x0.png,²", "x1.png,10"))
    assert set(dataset.labels.values()) == {"10", "²"}


def test_lines_without_a_patient_among_others_with_one_are_warned_of(tmp_path):
    touch(tmp_path, "x0.png", "x1.png", "x2.png")
    rows = ["x0.png,a,p0", "x1.png,b,", "x2.png,b,"]
    said = problems(read_dataset(text(tmp_path, "t.csv", "image,label,patient", *rows)), "patients")
    assert "line 3 names no patient" in said
    assert "the 2 such lines of 3" in said
    lines = [row.rpartition(",")[0] for row in rows]
    assert not read_dataset(text(tmp_path, "t.csv", "image,label", *lines)).problems


def test_a_label_in_a_list_may_have_spaces(tmp_path):
    touch(tmp_path, "my a.png", "b.png")
    text(tmp_path, "list.txt", "my a.png class 1", "b.png class 2")
    dataset = read_dataset(tmp_path)
    assert {case.image.name: case.classes for case in dataset.cases} == {
        "my a.png": ("class 1",),
        "b.png": ("class 2",),
    }
