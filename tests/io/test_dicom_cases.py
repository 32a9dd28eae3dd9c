"""DICOM among other images: what a folder's cases are, whose they are, and prediction on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_maker import PERSONAL, made, save, save_all, slices
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from unimiss import read, write
from unimiss.data.cache import cache_key
from unimiss.data.cases import Case, find_images, is_held_out, patient_of, stem
from unimiss.data.preprocessing import is_ct
from unimiss.errors import InputError
from unimiss.info import describe
from unimiss.io import Image

VALUES = np.random.default_rng(0).integers(0, 1000, (4, 6, 7)).astype(np.int16)
FILM = np.eye(8, dtype=np.uint8)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Folder as it comes from a hospital: two series, a film, a report, a NIfTI file and a note."""
    folder = tmp_path / "Doe_Jane"
    save_all(folder / "ct", slices(VALUES), ["1.2.840.1", "1.2.840.2", "c", "d.IMA"])
    mr = slices(VALUES + 1, modality="MR", SeriesInstanceUID="1.2.4", StudyInstanceUID="1.9")
    save_all(folder / "ct", mr, [f"m{i}.dcm" for i in range(4)])
    save(folder / "cr" / "film.dcm", made(FILM, SeriesInstanceUID="1.2.5", PatientID="other"))
    report = made(FILM, "SR", SeriesInstanceUID="1.2.6")
    del report.Rows, report.Columns, report.PixelData
    save(folder / "cr" / "report.dcm", report)
    write(read(folder / "ct" / "c"), folder / "scan.nii.gz")
    (folder / "notes.txt").write_text("notes")
    directory = Dataset()
    directory.FileSetID = "DISC"
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.7"
    save(folder / "DICOMDIR", directory)
    return folder


def test_each_series_is_one_case_beside_other_images(archive: Path) -> None:
    found = [path.relative_to(archive).as_posix() for path in find_images([archive])]
    assert found == ["cr/film.dcm", "ct/1.2.840.1", "ct/m0.dcm", "scan.nii.gz"]


def test_files_of_one_series_are_one_case(archive: Path) -> None:
    listed = sorted((archive / "ct").iterdir())
    assert len(find_images(listed)) == 2
    (archive / "list.txt").write_text("ct/c\nct/d.IMA\ncr/film.dcm\n")
    assert len(find_images([archive / "list.txt"])) == 2


def test_a_damaged_file_stays_a_case_so_that_it_is_named(archive: Path) -> None:
    whole = (archive / "cr" / "film.dcm").read_bytes()
    for cut in (150, 330):
        (archive / "cr" / f"{cut}.dcm").write_bytes(whole[:cut])
        assert archive / "cr" / f"{cut}.dcm" in find_images([archive / "cr"])


def test_a_search_reads_headers_only(archive: Path) -> None:
    expected = find_images([archive])
    for path in (archive / "ct").iterdir():  # without their pixels the files could not be read
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rindex(b"\xe0\x7f\x10\x00")])
    assert find_images([archive]) == expected
    assert len({patient_of(path) for path in expected}) == 3


def test_a_patient_is_a_hash_of_the_id_whatever_the_file_is_called(archive: Path) -> None:
    ct, mr, film = (patient_of(archive / name) for name in ("ct/c", "ct/m3.dcm", "cr/film.dcm"))
    assert ct == mr == Case((archive / "ct" / "d.IMA",)).patient
    assert film != ct
    assert re.fullmatch(r"dicom-[0-9a-f]{16}", ct)
    assert is_held_out(ct, 1)


def test_without_an_id_the_study_is_the_patient(tmp_path: Path) -> None:
    for number, study in enumerate(["1.7", "1.7", "1.8"]):
        film = made(FILM, PatientID="", StudyInstanceUID=study)
        save(tmp_path / f"{number}.dcm", film)
    first, second, third = (patient_of(tmp_path / f"{n}.dcm") for n in range(3))
    assert first == second != third


def test_names_say_the_kind_and_nothing_of_the_person(archive: Path) -> None:
    names = {stem(path) for path in find_images([archive / "ct", archive / "cr"])}
    assert sorted(name[:3] for name in names) == ["cr_", "ct_", "mr_"]
    assert all(re.fullmatch(r"[a-z]{2}_[0-9a-f]{12}", name) for name in names)
    assert stem(archive / "ct" / "c") == stem(archive / "ct" / "d.IMA")


def test_the_cache_notices_a_change_in_any_slice(archive: Path) -> None:
    before = cache_key((archive / "ct" / "c",), "recipe")
    assert cache_key((archive / "ct" / "d.IMA",), "recipe") == before
    (archive / "ct" / "1.2.840.1").unlink()
    assert cache_key((archive / "ct" / "c",), "recipe") != before


@pytest.mark.parametrize(("modality", "low", "expected"), [("CT", 0, True), ("MR", -2000, False)])
def test_the_header_says_what_is_ct(tmp_path: Path, modality: str, low: int, expected: bool) -> None:
    save_all(tmp_path, slices(VALUES + np.int16(low), modality=modality))
    assert is_ct(read(tmp_path)) is expected


def test_info_tells_of_a_series_and_of_nobody(archive: Path) -> None:
    for path in (archive / "ct" / "c", archive / "cr"):
        lines = dict(describe(path))
        said = " ".join(value for name, value in lines.items() if name != "image")
        assert lines["masks are called"] == stem(path)
        assert not any(value in said for value in PERSONAL.values())
    assert dict(describe(archive / "ct" / "c"))["modality"] == "CT"
    with pytest.raises(InputError, match=r"ct: this folder holds 2 DICOM images"):
        describe(archive / "ct")


class Threshold:
    """Stands for a trained model: everything above 500 is class 1."""

    labels = {0: "background", 1: "bright"}
    overlapping = False

    class preprocessing:
        dimension = 3
        files = 1

    def segment(
        self, image: Image, progress: Callable[[float], None], *, probabilities: bool
    ) -> tuple[Image, None]:
        if image.geometry.ndim != 3:
            raise InputError("this model takes volumes")
        return image.with_array((image.array > 500).astype(np.uint8), self.labels), None


def test_predicted_masks_lie_on_their_series_as_nifti(archive: Path, tmp_path: Path) -> None:
    from unimiss.inference.folder import predict_files

    stages: list[str] = []
    masks = predict_files(
        Threshold(),
        [archive / "ct"],
        tmp_path / "masks",
        progress=lambda share, name: stages.append(name),
        warn=stages.append,
    )
    assert [re.sub(r"[0-9a-f]{12}", "#", path.name) for path in masks] == ["ct_#.nii.gz", "mr_#.nii.gz"]
    for mask, source in zip(masks, ("c", "m0.dcm"), strict=True):
        image, found = read(archive / "ct" / source), read(mask)
        assert image.geometry.difference(found.geometry) is None
        np.testing.assert_array_equal(found.array, image.array > 500)
    assert set(stages) == {path.name.removesuffix(".nii.gz") for path in masks}


def test_a_dicom_object_without_pixels_is_one_sentence(archive: Path, tmp_path: Path) -> None:
    from unimiss.inference.folder import predict_files

    with pytest.raises(InputError, match=r"report\.dcm: this DICOM object of modality SR holds no image"):
        predict_files(
            Threshold(),
            [archive / "cr" / "report.dcm"],
            tmp_path / "masks",
            progress=lambda share, name: None,
            warn=print,
        )


def test_pretraining_prepares_series_by_their_modality(archive: Path) -> None:
    from unimiss.data.cache import Cache
    from unimiss.pretraining.prepare import median_grid, prepare_all

    big = np.random.default_rng(1).integers(0, 900, (6, 20, 24)).astype(np.int16)
    save_all(archive / "big" / "nested", slices(big))
    volumes = find_images([archive / "big"])
    spacing, _ = median_grid(volumes)
    np.testing.assert_allclose(spacing, (2, 0.75, 0.5))
    cache = Cache(archive / "cache")
    (case,) = prepare_all(volumes, (2.0, 0.75, 0.5), cache, lambda share: None, pytest.fail).cases
    stored = torch.from_numpy(cache.open(case.key, "image")[:]).float()
    np.testing.assert_allclose(stored[0], big / 1024, atol=1e-3)
