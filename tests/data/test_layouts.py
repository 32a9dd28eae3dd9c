"""Every layout of a data set becomes the same value: cases, labels, splits, patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unimiss as engine
from unimiss.data.datasets import check_dataset, inspect_dataset, read_dataset, read_mask
from unimiss.errors import InputError

LABELS = {"background": 0, "liver": 1, "tumour": 2}


def touch(folder: Path, *names: str) -> Path:
    """Empty files: reading a data set opens no image."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def describe(folder: Path, **entries: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(entries))
    return folder


def text(folder: Path, name: str, *lines: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def shown(dataset, root):
    """Images and masks of the cases, relative to the root."""
    return [
        tuple(path.relative_to(root).as_posix() for path in (*case.images, *case.masks))
        for case in dataset.cases
    ]


def picture(path: Path, values: np.ndarray) -> None:
    array = values.astype(np.uint8)[None]
    engine.write(engine.Image(array, engine.Geometry.from_spacing(array.shape[1:], units="pixel")), path)


def test_a_decathlon_folder_lists_its_cases_and_names_its_modality(tmp_path):
    touch(tmp_path, "imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    listed = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "ab"]
    labels = {"0": "background", "1": "liver"}
    describe(tmp_path, labels=labels, modality={"0": "CT"}, training=listed)
    dataset = read_dataset(tmp_path)
    assert (dataset.kind, dataset.overlapping, dataset.channels) == ("segmentation", False, ("CT",))
    assert dataset.labels == {0: "background", 1: "liver"}
    assert shown(dataset, tmp_path) == [(f"imagesTr/{n}.nii.gz", f"labelsTr/{n}.nii.gz") for n in "ab"]


def test_an_nnunet_folder_has_a_file_for_each_modality_of_a_case(tmp_path):
    files = [f"imagesTr/{case}_{channel:04d}.nii.gz" for case in "ab" for channel in (0, 1)]
    touch(tmp_path, *files, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    describe(tmp_path, labels=LABELS, channel_names={"0": "CT", "1": "PET"}, file_ending=".nii.gz")
    dataset = read_dataset(tmp_path)
    assert dataset.channels == ("CT", "PET")
    assert shown(dataset, tmp_path)[0] == (*files[:2], "labelsTr/a.nii.gz")
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert [case.patient for case in dataset.cases] == ["a", "b"]


def test_nnunet_may_say_where_the_files_of_its_cases_are(tmp_path):
    touch(tmp_path, "x/t1.nii.gz", "x/t2.nii.gz", "x/seg.nii.gz")
    cases = {"x": {"images": ["x/t1.nii.gz", "x/t2.nii.gz"], "label": "x/seg.nii.gz"}}
    describe(tmp_path, labels=LABELS, channel_names={"0": "T1", "1": "T2"}, dataset=cases)
    assert shown(read_dataset(tmp_path), tmp_path) == [("x/t1.nii.gz", "x/t2.nii.gz", "x/seg.nii.gz")]


def test_a_case_without_one_of_its_modalities_is_named(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTr/b_0000.nii.gz")
    touch(tmp_path, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    describe(tmp_path, labels=LABELS, channel_names={"0": "CT", "1": "PET"})
    dataset = read_dataset(tmp_path)
    assert len(dataset.cases) == 1
    assert "b_0000.nii.gz" in dataset.problems[0].text


def test_regions_of_nnunet_are_classes_that_overlap(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.png")
    picture(tmp_path / "labelsTr" / "a.png", np.array([[0, 1], [2, 0]]))
    describe(tmp_path, labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    dataset = read_dataset(tmp_path)
    assert dataset.overlapping
    assert dataset.labels == {0: "background", 1: "whole", 2: "core"}
    mask = read_mask(dataset.cases[0], dataset).array
    np.testing.assert_array_equal(mask, [[[0, 1], [1, 0]], [[0, 0], [1, 0]]])


def test_regions_that_share_no_value_exclude_each_other(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.png")
    picture(tmp_path / "labelsTr" / "a.png", np.array([[0, 1], [2, 3]]))
    describe(tmp_path, labels={"background": 0, "organ": [1, 2], "vessel": 3})
    dataset = read_dataset(tmp_path)
    assert not dataset.overlapping
    assert dataset.labels == {0: "background", 1: "organ", 3: "vessel"}
    np.testing.assert_array_equal(read_mask(dataset.cases[0], dataset).array, [[[0, 1], [1, 3]]])


@pytest.mark.parametrize(
    ("images", "masks"),
    [("imagesTr", "labelsTr"), ("images", "masks"), ("img", "label"), ("images", "labels")],
)
def test_images_beside_masks_are_matched_by_name(tmp_path, images, masks):
    touch(tmp_path, f"{images}/a.nii.gz", f"{images}/b.nii.gz", f"{masks}/a.nii.gz", f"{masks}/c.nii.gz")
    dataset = read_dataset(tmp_path)
    assert shown(dataset, tmp_path) == [(f"{images}/a.nii.gz", f"{masks}/a.nii.gz")]
    said = " ".join(problem.text for problem in dataset.problems)
    assert "b.nii.gz has no mask" in said
    assert "c.nii.gz has no image" in said


def test_names_may_end_in_mask_or_begin_with_their_folder(tmp_path):
    touch(tmp_path / "x", "images/a.png", "masks/a_mask.png", "images/b.png", "masks/b_seg.png")
    assert len(read_dataset(tmp_path / "x").cases) == 2
    touch(tmp_path / "bcv", "img/img0001.nii.gz", "img/img0002.nii.gz", "label/label0002.nii.gz")
    assert shown(read_dataset(tmp_path / "bcv"), tmp_path / "bcv") == [
        ("img/img0002.nii.gz", "label/label0002.nii.gz")
    ]


def test_numbered_frames_with_masks_of_their_own_are_no_modalities(tmp_path):
    names = [f"frame_{n:04d}.png" for n in range(3)]
    touch(tmp_path, *(f"images/{n}" for n in names), *(f"masks/{n}" for n in names))
    assert [len(case.images) for case in read_dataset(tmp_path).cases] == [1, 1, 1]


def test_folders_of_splits_say_who_validates(tmp_path):
    touch(tmp_path / "a", "train/images/x.png", "train/masks/x.png", "val/images/y.png", "val/masks/y.png")
    touch(tmp_path / "b", "images/train/x.png", "masks/train/x.png", "images/val/y.png", "masks/val/y.png")
    for name in "ab":
        assert [case.split for case in read_dataset(tmp_path / name).cases] == ["training", "validation"]


def test_a_folder_of_masks_for_each_structure_makes_classes_that_overlap(tmp_path):
    whole = np.zeros((4, 4))
    whole[1:3] = 255
    part = np.zeros((4, 4))
    part[1, 1:3] = 255
    for structure, mask in (("heart", part), ("lungs", whole)):
        picture(tmp_path / "masks" / structure / "JPCLN001.png", mask)
    touch(tmp_path, "images/JPCLN001.png")
    dataset = read_dataset(tmp_path)
    assert dataset.overlapping
    assert dataset.labels == {0: "background", 1: "heart", 2: "lungs"}
    mask = read_mask(dataset.cases[0], dataset)
    np.testing.assert_array_equal(mask.array, np.stack([part, whole]) > 0)


def test_one_structure_is_one_class_whatever_its_value(tmp_path):
    picture(tmp_path / "masks" / "lungs" / "a.png", np.array([[0, 255]]))
    touch(tmp_path, "images/a.png")
    dataset = read_dataset(tmp_path)
    assert not dataset.overlapping
    np.testing.assert_array_equal(read_mask(dataset.cases[0], dataset).array, [[[0, 1]]])


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


def test_a_folder_for_each_class_with_or_without_splits(tmp_path):
    touch(tmp_path / "a", "normal/x.png", "covid/deep/y.png", "empty/readme.txt")
    dataset = read_dataset(tmp_path / "a")
    assert dataset.kind == "classification"
    assert dataset.labels == {0: "covid", 1: "normal"}
    touch(tmp_path / "b", "train/normal/x.png", "train/covid/y.png", "test/normal/z.png", "test/covid/w.png")
    splits = [case.split for case in read_dataset(tmp_path / "b").cases]
    assert sorted(map(str, splits)) == ["test", "test", "training", "training"]


def test_numbered_classes_are_sorted_as_numbers(tmp_path):
    touch(tmp_path, "10.png", "9.png", "2.png")
    lines = [f"{n}.png {n}" for n in (10, 9, 2)]
    assert list(read_dataset(text(tmp_path, "l.txt", *lines)).labels.values()) == ["2", "9", "10"]


def test_channels_of_a_mask_are_classes_that_overlap(tmp_path):
    geometry = engine.Geometry.from_spacing((4, 4, 4))
    planes = np.zeros((2, 4, 4, 4), np.uint8)
    planes[0, 1:], planes[1, 2] = 1, 1
    engine.write(engine.Image(np.ones((1, 4, 4, 4), np.uint8), geometry), tmp_path / "images" / "a.nii.gz")
    engine.write(engine.Image(planes, geometry), tmp_path / "masks" / "a.nii.gz")
    dataset, problems = inspect_dataset(read_dataset(tmp_path))
    assert not problems
    assert dataset.overlapping
    assert dataset.labels == {0: "background", 1: "1", 2: "2"}
    np.testing.assert_array_equal(read_mask(dataset.cases[0], dataset).array, planes)


def problems(dataset, fault: str) -> str:
    return " ".join(problem.text for problem in dataset.problems if problem.fault == fault)


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


def test_classes_beside_folders_of_splits_are_the_training(tmp_path):
    touch(tmp_path, "covid/a.png", "normal/b.png", "test/covid/c.png", "test/normal/d.png", "notes/x.txt")
    found = {case.name: (case.classes[0], case.split) for case in read_dataset(tmp_path).cases}
    assert found == {
        "a": ("covid", "training"),
        "b": ("normal", "training"),
        "c": ("covid", "test"),
        "d": ("normal", "test"),
    }


def test_images_beside_folders_of_training_and_test_are_a_problem(tmp_path):
    touch(tmp_path, "train/covid/a.png", "train/normal/b.png", "test/normal/d.png", "covid/c.png")
    dataset = read_dataset(tmp_path)
    assert len(dataset.cases) == 3
    assert f"{tmp_path / 'covid'} holds images beside the folders of splits" in problems(dataset, "entries")


def test_loose_files_in_a_folder_of_a_split_are_named_and_the_classes_read(tmp_path):
    touch(tmp_path, "covid/a.png", "normal/b.png", "test/c.png")
    dataset = read_dataset(tmp_path)
    assert [case.split for case in dataset.cases] == ["training", "training"]
    assert "test has no folders of classes" in problems(dataset, "unlabelled")


def test_classes_may_be_called_after_a_test(tmp_path):
    touch(tmp_path, "test positive/a.png", "test negative/b.png")
    dataset = read_dataset(tmp_path)
    assert list(dataset.labels.values()) == ["test negative", "test positive"]
    assert {case.split for case in dataset.cases} == {None}


def test_splits_with_more_than_that_in_their_names_are_not_taken_for_classes(tmp_path):
    touch(tmp_path / "a", "X_Train/nv/a.png", "X_Train/mel/b.png", "X_Test/nv/c.png")
    assert "the classes X_Test and X_Train have names of splits" in problems(
        read_dataset(tmp_path / "a"), "entries"
    )
    touch(tmp_path / "b", "Training_Set/nv/a.png", "Training_Set/mel/b.png", "Test_Set/nv/c.png")
    splits = [case.split for case in read_dataset(tmp_path / "b").cases]
    assert splits == ["test", "training", "training"]


def test_a_byte_order_mark_of_a_description_is_passed_over(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png")
    file = describe(tmp_path, labels=LABELS) / "dataset.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_dataset(tmp_path).cases) == 1


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"labels": LABELS, "file_ending": ".nii"}, r"'file_ending' is '\.nii'.*they have \.nii\.gz"),
        ({"labels": {"bg": 1, "a": 0}}, "background of masks is 0, found 'bg' for 1 and 'a' for 0"),
    ],
)
def test_a_description_that_contradicts_the_files_or_itself_is_refused(tmp_path, entries, said):
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=said):
        read_dataset(describe(tmp_path, **entries))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "picture,label\na.png,x\n", "header"),
        ("t.csv", "", "header"),
        ("t.csv", "image,label\n", "names no case"),
        ("t.json", "[1]", "must hold an object"),
        ("t.json", '{"channel_names": {"1": "CT"}, "labels": {"x": 1}}', "channel_names"),
        ("t.json", '{"file_ending": ".xyz", "labels": {"x": 1}}', ".xyz"),
        ("t.json", '{"labels": {"x": 1}}', "no imagesTr"),
        ("t.pdf", "", "is no data set"),
        ("t.txt", "no image", "none of their files exists"),
        ("t.txt", "one", "has no label"),
        ("t.csv", "image,label\nx.png,covid\n", "names 1 cases, and none of their files exists"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_a_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read_dataset(tmp_path / name)


def test_binary_files_are_no_tables(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(InputError, match="not a text file"):
        read_dataset(tmp_path / "t.csv")
    with pytest.raises(InputError, match="folder for each class"):
        read_dataset(tmp_path)


TABLES = [
    "\x00",
    "image,label\n,\n",
    'image,label\n"x',
    "image,label,fold\nimages/0.png,x,-1",
    "image,label\n" + "y" * 5000 + ".png,x",
    "image,label\nimages/0.png,masks/0.png|masks/1.png\nimages/1.png,masks/1.png",
    "image,label\nimages/0.png|images/1.png,a\nimages/1.png,b",
    "image,A,B\nimages/0.png,1\n",
    "image,image,label\nimages/0.png,images/0.png,2\n",
]
DESCRIPTIONS = [
    {"labels": 3},
    {"labels": {"a": None}},
    {"labels": {"a": [[1]]}},
    {"labels": {"a": 10**30}},
    {"labels": {"²": 1}},
    {"labels": {"1": "a", "2": "a"}},
    {"training": [1, None, {"image": 3, "label": {}}]},
    {"dataset": {"a": 1}},
    {"modality": [1]},
    {"modality": {"0": 3, "x": 1}},
    {"channel_names": {"0": "CT", "1": "MR"}, "labels": {"b": 0, "x": 1}},
    {"file_ending": 7},
]


@pytest.mark.parametrize("content", TABLES + [json.dumps(one) for one in DESCRIPTIONS])
def test_nonsense_is_a_problem_or_a_sentence(tmp_path, content):
    for number in range(2):
        for folder in ("images", "masks"):
            picture(tmp_path / folder / f"{number}.png", np.full((4, 4), number + 1))
    file = tmp_path / ("dataset.json" if content.startswith("{") else "t.csv")
    file.write_text(content)
    with pytest.raises(InputError, match=f"{tmp_path}|^t "):
        check_dataset(read_dataset(file), report=lambda share: None, warn=lambda text: None)
