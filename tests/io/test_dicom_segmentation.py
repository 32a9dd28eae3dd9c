"""DICOM segmentations: written, read by highdicom, and compared with the mask voxel for voxel."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_maker import PERSONAL, made, save, save_all, slices
from pydicom import Dataset, dcmread

from unimiss.errors import InputError, JobError
from unimiss.geometry import Geometry
from unimiss.inference.folder import predict_files
from unimiss.io import Image, read, write
from unimiss.io.dicom.concepts import GENERIC, concept

FRAME = "1.2.3.4"
_TURN = np.deg2rad(20)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(_TURN)), float(np.sin(_TURN)))
_ACROSS = (0.0, -2.5 * float(np.sin(_TURN)), 2.5 * float(np.cos(_TURN)))
SERIES = {
    "axial": (AXIAL, (0.0, 0.0, 2.0)),
    "reversed": (AXIAL, (0.0, 0.0, -2.0)),
    "flipped": ((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 2.0)),
    "sagittal": (SAGITTAL, (3.0, 0.0, 0.0)),
    "oblique": (OBLIQUE, _ACROSS),
}
LABELS = {0: "background", 2: "liver", 5: "left kidney", 9: "unheard of"}


def scan(folder: Path, kind: str = "axial", **elements: object) -> tuple[Path, dict[str, np.ndarray]]:
    """Write a series; return its folder, and the stored values of every slice by its UID."""
    orientation, step = SERIES[kind]
    values = np.random.default_rng(0).integers(0, 10, (6, 10, 8)).astype(np.int16)
    series = slices(
        values, orientation=orientation, step=step, FrameOfReferenceUID=FRAME, StudyID="1", **elements
    )
    save_all(folder, series, [f"{i:03d}.dcm" for i in np.random.default_rng(1).permutation(len(series))])
    return folder, {ds.SOPInstanceUID: plane for ds, plane in zip(series, values, strict=True)}


def mask_of(image: Image) -> Image:
    """Label every voxel by its value, so that each tells where it came from."""
    array = np.where(np.isin(image.array, [2, 5]), image.array, 0).astype(np.uint8)
    return image.with_array(array, LABELS)


@pytest.mark.parametrize("kind", SERIES)
def test_every_segment_lies_on_its_slice_voxel_for_voxel(tmp_path: Path, kind: str) -> None:
    folder, stored = scan(tmp_path / "series", kind)
    write(mask_of(read(folder)), tmp_path / "mask.dcm")
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert [found.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(LABELS.values())[1:]
    pixels = found.get_pixels_by_source_instance(list(stored), combine_segments=True)
    for plane, values in zip(pixels, stored.values(), strict=True):
        np.testing.assert_array_equal(plane == 1, values == 2)
        np.testing.assert_array_equal(plane == 2, values == 5)
    assert not (pixels == 3).any()
    volume = found.get_volume(combine_segments=True)  # by positions alone, as another program reads it
    where = volume.map_indices_to_reference(np.argwhere(volume.array == 1))
    image = read(folder)
    expected = image.geometry.to_world(np.argwhere(image.array[0] == 2))[:, ::-1]
    np.testing.assert_allclose(
        sorted(map(tuple, where.round(3))), sorted(map(tuple, expected.round(3))), atol=2e-3
    )


def test_it_belongs_to_the_patient_the_study_and_the_frame_of_its_source(tmp_path: Path) -> None:
    folder, stored = scan(tmp_path / "series")
    write(mask_of(read(folder)), tmp_path / "mask.dcm")
    file, source = dcmread(tmp_path / "mask.dcm"), dcmread(next(folder.iterdir()))
    for name in (*PERSONAL, "StudyInstanceUID", "FrameOfReferenceUID"):
        assert file[name].value == source[name].value
    assert file.Modality == "SEG"
    assert file.SeriesInstanceUID != source.SeriesInstanceUID
    (referenced,) = file.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == set(stored)
    liver, kidney, other = file.SegmentSequence
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Kidney"
    assert other.SegmentedPropertyTypeCodeSequence[0].CodeValue == GENERIC[1].value


def test_frames_of_one_object_keep_their_own_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 10, (4, 6, 5)).astype(np.int16)
    places = [6.0, 0.0, 4.0, 2.0]  # frames as they are stored lie anywhere
    frames = []
    for z in places:
        frame, at = Dataset(), Dataset()
        at.ImagePositionPatient = [0.0, 0.0, z]
        frame.PlanePositionSequence = [at]
        frames.append(frame)
    shared, turned, sized = Dataset(), Dataset(), Dataset()
    turned.ImageOrientationPatient = list(AXIAL)
    sized.PixelSpacing, sized.SliceThickness = [0.75, 0.5], 2.0
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [sized]
    ds = made(
        values,
        "MR",
        FrameOfReferenceUID=FRAME,
        PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=[shared],
    )
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"  # Enhanced MR
    path = save(tmp_path / "frames.dcm", ds)
    write(mask_of(read(path)), tmp_path / "mask.dcm")
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    pixels = found.get_pixels_by_source_frame(ds.SOPInstanceUID, [1, 2, 3, 4], combine_segments=True)
    np.testing.assert_array_equal(pixels == 1, values == 2)


def test_classes_that_overlap_keep_a_segment_each(tmp_path: Path) -> None:
    folder, stored = scan(tmp_path / "series", "oblique")
    image = read(folder)
    layers = np.concatenate([image.array > 3, image.array > 6]).astype(np.uint8)
    write(image.with_array(layers, {1: "lung", 2: "nodule"}), tmp_path / "mask.dcm")
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    pixels = found.get_pixels_by_source_instance(list(stored))
    expected = np.stack(list(stored.values()))
    np.testing.assert_array_equal(pixels[..., 0] > 0, expected > 3)
    np.testing.assert_array_equal(pixels[..., 1] > 0, expected > 6)


def test_a_mask_without_any_voxel_is_written_too(tmp_path: Path) -> None:
    folder, stored = scan(tmp_path / "series")
    image = read(folder)
    write(image.with_array(np.zeros_like(image.array, np.uint8), LABELS), tmp_path / "mask.dcm")
    found = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert found.number_of_segments == 3
    assert not found.get_pixels_by_source_instance(list(stored), combine_segments=True).any()


def _without_frame(image: Image, folder: Path) -> Image:
    for file in folder.iterdir():
        ds = dcmread(file)
        del ds.FrameOfReferenceUID
        ds.save_as(file)
    return mask_of(image)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (_without_frame, "no FrameOfReferenceUID"),
        (lambda image, folder: replace(mask_of(image), provenance=None), "made from none"),
        (lambda image, folder: image, "only masks are written as DICOM"),
    ],
)
def test_what_cannot_be_referred_to_is_refused_in_a_sentence(
    tmp_path: Path, changed: Callable[[Image, Path], Image], said: str
) -> None:
    folder, _ = scan(tmp_path / "series")
    image = changed(read(folder), folder)
    with pytest.raises(InputError, match=said) as refused:
        write(image, tmp_path / "mask.dcm")
    assert not any(value in str(refused.value) for value in PERSONAL.values())
    assert not (tmp_path / "mask.dcm").exists()


def test_names_of_classes_become_codes_where_dicom_has_them() -> None:
    assert concept("Tumour")[1].meaning == "Neoplasm"
    assert concept("tumour")[0].meaning != concept("spleen")[0].meaning
    assert concept("Right Lung")[1] == concept("lung_L")[1]
    assert concept("")[1] == concept("organ 7")[1] == GENERIC[1]


class Marks:
    """Stands for a trained model: values 2 and 5 are its classes."""

    labels = LABELS
    overlapping = False

    class preprocessing:
        dimension = 3
        files = 1

    def segment(self, image: Image, progress: object, *, probabilities: bool) -> tuple[Image, None]:
        return mask_of(image), None


def test_predicted_segmentations_have_no_patient_in_their_names(tmp_path: Path) -> None:
    folder, _ = scan(tmp_path / "Doe^Jane")
    quiet = {"progress": lambda share, name: None, "warn": lambda said: None}
    (file,) = predict_files(Marks(), [folder], tmp_path / "masks", suffix=".dcm", **quiet)
    assert file.name.startswith("ct_")
    assert file.suffix == ".dcm"
    assert highdicom.seg.segread(file).number_of_segments == 3
    write(mask_of(read(folder)), tmp_path / "plain.nii.gz")
    with pytest.raises(InputError, match=r"plain\.nii\.gz is no DICOM image"):
        predict_files(Marks(), [tmp_path / "plain.nii.gz"], tmp_path / "masks", suffix=".dcm", **quiet)


def test_a_series_that_no_segmentation_can_refer_to_is_left_out_before_it_is_predicted(
    tmp_path: Path,
) -> None:
    scan(tmp_path / "Doe^Jane" / "ct", SeriesInstanceUID="1.2.99")
    bare, _ = scan(tmp_path / "Doe^Jane" / "bare")
    for file in bare.iterdir():
        header = dcmread(file)
        del header.FrameOfReferenceUID
        header.save_as(file)
    plain = Image(np.zeros((1, 9, 9), np.uint8), Geometry.from_spacing((9, 9)))
    write(plain, tmp_path / "Doe^Jane" / "thumb.png")
    seen, said = [], []

    class Counts(Marks):
        def segment(self, image: Image, progress: object, *, probabilities: bool) -> tuple[Image, None]:
            seen.append(image)
            return mask_of(image), None

    def predicted(**options: bool) -> None:
        predict_files(
            Counts(),
            [tmp_path / "Doe^Jane"],
            tmp_path / "masks",
            suffix=".dcm",
            progress=lambda share, name: said.append(name),
            warn=said.append,
            **options,
        )

    with pytest.raises(JobError, match="1 of 3 inputs were segmented"):
        predicted()
    assert len(seen) == len(list((tmp_path / "masks").glob("*.dcm"))) == 1
    assert any("bare" in sentence and "has no FrameOfReferenceUID" in sentence for sentence in said)
    assert any("thumb.png: a DICOM segmentation refers to" in sentence for sentence in said)


def test_hidden_names_of_dicom_files_and_folders_are_in_no_sentence(tmp_path: Path) -> None:
    folder, _ = scan(tmp_path / "Doe^Jane")
    in_space = sorted(folder.iterdir(), key=lambda file: dcmread(file).ImagePositionPatient[2])
    in_space.pop(2).unlink()
    for number, file in enumerate(in_space):
        file.rename(folder / f"jane_{number}.dcm")
    whole, _ = scan(tmp_path / "other", SeriesInstanceUID="1.2.99")
    said: list[str] = []

    def predicted(inputs: list[Path], **options: bool) -> None:
        options = {"progress": lambda share, name: said.append(name), "warn": said.append, **options}
        predict_files(Marks(), inputs, tmp_path / "masks", **options)

    with pytest.raises(JobError):
        predicted([folder, whole], hide=True)
    assert any("left out: " in sentence for sentence in said)
    assert not [sentence for sentence in said if "jane" in sentence.lower()]
    with pytest.raises(InputError) as refused:
        predicted([folder], hide=True)
    assert "jane" not in str(refused.value).lower()
    with pytest.raises(InputError) as refused:
        predicted([whole, shutil.copytree(whole, tmp_path / "Jane Doe")], hide=True)
    assert "would both be written to" in str(refused.value)
    assert "jane" not in str(refused.value).lower()
    with pytest.raises(InputError, match="Jane"):
        predicted([folder])
