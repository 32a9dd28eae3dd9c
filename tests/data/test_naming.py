"""Patients and masks by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimiss.data.cases import patient_of
from unimiss.data.naming import is_mask


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("00000001_002.png", "00000001"),
        ("000001_02_01_008-023_dep4.nii.gz", "000001"),
        ("sub-07_ses-1_T1w.nii.gz", "sub-07"),
        ("liver_12_0000.nii.gz", "liver_12"),
        ("image_0003.png", "image"),
        ("image_0010.png", "image_0010"),
        ("hippocampus_190.nii.gz", "hippocampus_190"),
        ("1.2.3_fig1a.png", "1.2.3_fig1a"),
        ("example_ct_sm.nii.gz", "example_ct_sm"),
        ("volume-10.nii", "volume-10"),
        ("0003.png", "0003"),
        ("case_study2.png", "case_study2"),
    ],
)
@pytest.mark.parametrize("folder", ["folder", "patients/images", "case1/images", "subset3"])
def test_a_name_that_tells_patients_apart_counts_wherever_it_lies(folder, name, patient):
    assert patient_of(Path("/data") / folder / name) == patient


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("s0001/ct.nii.gz", "s0001"),  # TotalSegmentator
        ("case_00001/imaging.nii.gz", "case_00001"),  # KiTS
        ("case_0001/imaging.nii.gz", "case_0001"),
        ("0007/T1.nii.gz", "0007"),
        ("p3/2011-05-03/t1ce.nii.gz", "p3"),
        ("p3/08-12-2005-NA-PET-CT/SUV.nii.gz", "p3"),  # autoPET
        ("p3/session_2/anat/FLAIR.nii.gz", "p3"),
        ("sub-07/ses-1/anat/T1w.nii.gz", "sub-07"),
        ("patient00001/study1/view1_frontal.jpg", "patient00001"),  # CheXpert
        ("XR_ELBOW/patient00011/study1_negative/image1.png", "patient00011"),  # MURA
        ("000001_01_01/109.png", "000001"),  # DeepLesion as released
        ("patient001/patient001_frame12.nii.gz", "patient001"),  # ACDC
    ],
)
def test_a_name_that_everybody_has_leaves_the_patient_to_the_folder(path, patient):
    assert patient_of(Path("/data/imagesTr") / path) == patient


@pytest.mark.parametrize(
    ("names", "patient"),
    [
        (("scan7_part1.nii.gz", "scan7_part2.nii.gz", "scan7_part2_0000.nii.gz"), "scan7"),
        (("lung_4_dep0.nii.gz", "lung_4_dep12.nii.gz", "lung_4-crop3.nii.gz"), "lung_4"),
        (("volume_17_slice_55.png", "volume_17_slice_56.png"), "volume_17"),
        (("IXI002-Guys-0828-T1.nii.gz", "IXI002-Guys-0828-T2.nii.gz"), "IXI002-Guys-0828"),
        (("BraTS20_Training_001_flair.nii.gz", "BraTS20_Training_001_t1ce.nii.gz"), "BraTS20_Training_001"),
        (("BraTS-GLI-00003-000-t1n.nii.gz", "BraTS-GLI-00003-001-t2w.nii.gz"), "BraTS-GLI-00003"),
    ],
)
def test_parts_and_sequences_of_one_scan_are_one_patient(names, patient):
    assert {patient_of(Path("folder") / name) for name in names} == {patient}


def test_a_number_is_kept_where_it_alone_tells_patients_apart():
    names = [f"ct_slice_{n}.png" for n in range(20)]
    assert len({patient_of(Path("folder") / name) for name in names}) == 20


def test_the_same_file_has_one_patient_by_relative_and_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "p5").mkdir()
    monkeypatch.chdir(tmp_path / "p5")
    assert patient_of(Path("ct.nii.gz")) == patient_of(tmp_path / "p5" / "ct.nii.gz") == "p5"


@pytest.mark.parametrize(
    "path",
    [
        "s0001/segmentations/liver.nii.gz",
        "case_00001/segmentation.nii.gz",
        "BraTS20_Training_001_seg.nii.gz",
        "example_seg_mr.nii.gz",
        "segmentation-12.nii",
        "label0001.nii.gz",
        "benign (1)_mask_1.png",
        "patient001_frame01_gt.nii.gz",
        "COVID/lung masks/a.png",
        "Labels/train/a.png",
        "images/a_mask.png",
    ],
)
def test_a_mask_is_known_by_its_name_or_its_folder(path):
    assert is_mask(Path(path))


@pytest.mark.parametrize(
    "path",
    [
        "s0001/ct.nii.gz",
        "segmentation/images/a.png",
        "lung_segmentation/a.png",
        "segmentation_challenge_ct_12.nii.gz",
        "unmasked.png",
        "segment_01.nii.gz",
        "001.png",
        "ct.nii.gz",
    ],
)
def test_an_image_is_not_taken_for_a_mask(path):
    assert not is_mask(Path(path))
