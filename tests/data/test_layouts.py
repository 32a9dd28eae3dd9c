"""Every layout of folders becomes the same value: cases, labels, splits, patients."""

from __future__ import annotations

import numpy as np
import pytest
from laid_out import LABELS, describe, picture, problems, shown, text, touch

import unimiss as engine
from unimiss.data.datasets import inspect_dataset, read_dataset, read_mask


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


def test_a_patient_without_a_mask_never_gets_that_of_another(tmp_path):
    touch(tmp_path, "images/p1/xray.png", "images/p2/xray.png", "masks/p2/xray.png")
    dataset = read_dataset(tmp_path)
    assert shown(dataset, tmp_path) == [("images/p2/xray.png", "masks/p2/xray.png")]
    assert "p1/xray.png has no mask" in problems(dataset, "unlabelled")


def test_a_name_of_its_own_is_found_in_another_sub_folder(tmp_path):
    touch(tmp_path, "images/first/c.png", "images/second/d.png", "masks/c.png", "masks/d.png")
    assert ("images/first/c.png", "masks/c.png") in shown(read_dataset(tmp_path), tmp_path)


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
