"""DICOM series: order, place, what makes no grid, several series in a folder, privacy."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_maker import PERSONAL, made, save, save_all, slices
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from unimiss import read, write
from unimiss.errors import InputError
from unimiss.io import is_dicom, series_in
from unimiss.io.probe import probe

rng = np.random.default_rng(0)
VALUES = rng.integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert not any(value in sentence for value in PERSONAL.values())
    return sentence.removeprefix(f"{path}: ")


def test_an_axial_series_is_in_anatomical_order_and_in_place(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES, origin=(-10, -20, 30)))
    image = read(tmp_path)
    np.testing.assert_array_equal(image.array[0], VALUES)
    assert image.array.dtype == np.int16
    np.testing.assert_allclose(image.geometry.spacing, (2, 0.75, 0.5))
    np.testing.assert_allclose(image.geometry.to_world((0, 0, 0)), (30, -20, -10))
    np.testing.assert_allclose(image.geometry.to_world((1, 2, 3)), (32, -18.5, -8.5))


def test_slices_are_sorted_by_position_and_not_by_name_or_number(tmp_path: Path) -> None:
    series = slices(VALUES)
    for number, ds in zip((3, 1, 5, 2, 4), series, strict=True):
        ds.InstanceNumber = number
    save_all(tmp_path, series, ["c.dcm", "a.dcm", "e.dcm", "b.dcm", "d.dcm"])
    np.testing.assert_array_equal(read(tmp_path).array[0], VALUES)


def test_a_series_from_head_to_feet_is_turned(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES, step=(0, 0, -2)))
    image = read(tmp_path)
    np.testing.assert_array_equal(image.array[0], VALUES[::-1])
    assert image.geometry.to_world((0, 0, 0))[0] == -8


def test_a_sagittal_series_becomes_slices_from_feet_to_head(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES, orientation=SAGITTAL, step=(2, 0, 0), modality="MR"))
    image = read(tmp_path)
    np.testing.assert_array_equal(image.array[0], VALUES.transpose(1, 2, 0)[::-1])
    assert image.geometry.orientation == "SPL"


def test_any_file_stands_for_its_series(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES), ["1.2.840.1", "1.2.840.2", "c.IMA", "d", "e.dcm"])
    (tmp_path / "notes.txt").write_text("no image")
    for name in ("1.2.840.1", "c.IMA", "d", "e.dcm"):
        assert is_dicom(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name).array[0], VALUES)
        assert probe(tmp_path / name).difference(read(tmp_path).geometry, 1e-9) is None


@st.composite
def frames_of_reference(draw: st.DrawFn) -> np.ndarray:
    """Right-handed orthonormal axes in any direction: columns are along a row, along a column, across."""
    parts = [draw(st.floats(-1, 1)) for _ in range(4)]
    q = np.array(parts) if np.linalg.norm(parts) > 0.1 else np.array([1.0, 0, 0, 0])
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def place_by_header(ds: Dataset, row: int, column: int) -> np.ndarray:
    """Centre of a pixel in LPS by the equation of the standard (part 3, C.7.6.2.1.1), from the written header."""
    along_row, along_column = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = np.array(ds.PixelSpacing, float)
    start = np.array(ds.ImagePositionPatient, float)
    return start + column * between_columns * along_row + row * between_rows * along_column


@given(
    axes=frames_of_reference(),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    spacing=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    distance=st.floats(0.5, 6),
    tilt=st.floats(-0.4, 0.4),
    backwards=st.booleans(),
)
def test_every_voxel_lies_where_the_header_says_however_oblique(
    tmp_path_factory: pytest.TempPathFactory,
    axes: np.ndarray,
    origin: tuple[float, ...],
    spacing: tuple[float, float],
    distance: float,
    tilt: float,
    backwards: bool,
) -> None:
    step = (-1 if backwards else 1) * distance * (axes[:, 2] + tilt * axes[:, 1])
    series = slices(VALUES, orientation=[*axes[:, 0], *axes[:, 1]], origin=origin, step=step, spacing=spacing)
    folder = save_all(tmp_path_factory.mktemp("series"), series)
    image = read(folder)
    for k in (0, 4):
        for r in (0, 5):
            for c in (0, 6):
                index = image.geometry.to_index(place_by_header(series[k], r, c)[::-1])
                nearest = np.rint(index).astype(int)
                off = image.geometry.to_world(nearest) - place_by_header(series[k], r, c)[::-1]
                assert np.abs(off).max() < 1e-6
                assert image.array[(0, *nearest)] == VALUES[k, r, c]
    assert probe(folder).difference(image.geometry, 1e-9) is None


@pytest.mark.parametrize("name", ["dicom_mr_sag", "dicom_ct_jpeg2000"])
def test_real_series_are_what_simpleitk_reads(real_data: Path, name: str) -> None:
    folder = real_data / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not among the real images")
    image = read(folder)
    paths = sorted(folder.iterdir(), key=lambda path: series_position(path))
    expected = sitk.ReadImage([str(path) for path in paths])
    array = sitk.GetArrayFromImage(expected)
    stored, grid = image.in_file_order()
    np.testing.assert_array_equal(stored[0], array)
    for corner in np.ndindex(2, 2, 2):
        index = [int(c) * (n - 1) for c, n in zip(corner, array.shape, strict=True)]
        theirs = expected.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(grid.to_world(index), theirs[::-1], atol=1e-3)
    assert probe(folder).difference(image.geometry, 1e-9) is None


def series_position(path: Path) -> float:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    direction = np.reshape(reader.GetDirection(), (3, 3))
    return float(direction[:, 2] @ reader.GetOrigin())


def test_a_missing_slice_is_named_with_its_place(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES))
    (tmp_path / "002.dcm").unlink()
    sentence = refusal(tmp_path)
    assert "1 slice is missing between 001.dcm and 003.dcm: they are 4 mm apart, others 2 mm" in sentence


def test_uneven_slices_are_refused_by_name(tmp_path: Path) -> None:
    series = slices(VALUES)
    series[3].ImagePositionPatient = [0, 0, 6.5]
    assert "not evenly spaced: 003.dcm lies 0.5 mm away" in refusal(save_all(tmp_path, series))


def test_identical_copies_are_dropped_and_different_ones_refused(tmp_path: Path) -> None:
    series = slices(VALUES)
    save_all(tmp_path, series)
    save(tmp_path / "copy.dcm", series[2])
    np.testing.assert_array_equal(read(tmp_path).array[0], VALUES)
    other = slices(VALUES + 1)[2]
    save(tmp_path / "copy.dcm", other)
    assert "002.dcm and copy.dcm show different things at one position" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"ImageOrientationPatient": list(SAGITTAL)}, "lie in different directions"),
        ({"PixelSpacing": [1, 1]}, "differ in PixelSpacing"),
        ({"ImagePositionPatient": [0, 9, 4]}, "not evenly spaced: 002.dcm lies 9 mm away"),
    ],
)
def test_slices_that_make_no_grid_are_refused(tmp_path: Path, elements: dict, words: str) -> None:
    series = slices(VALUES)
    for name, value in elements.items():
        setattr(series[2], name, value)
    assert words in refusal(save_all(tmp_path, series))


def test_slices_of_another_size_are_refused(tmp_path: Path) -> None:
    series = [*slices(VALUES[:2]), *slices(VALUES[:1, :3], origin=(0, 0, 4))]
    assert "000.dcm has 6 x 7 pixels and 002.dcm 3 x 7" in refusal(save_all(tmp_path, series))


def test_one_slice_is_a_volume_as_thick_as_it_says(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES[:1], SliceThickness="5"))
    assert read(tmp_path).geometry.spacing == (5, 0.75, 0.5)


def test_a_folder_of_several_series_lists_them_and_takes_a_file(tmp_path: Path) -> None:
    save_all(tmp_path, slices(VALUES, SeriesDescription="Thorax"), [f"a{i}.dcm" for i in range(5)])
    more = slices(VALUES[:3] + 1, SeriesInstanceUID="1.2.4", modality="MR", SeriesDescription="T1\nof Doe")
    save_all(tmp_path, more, [f"b{i}.dcm" for i in range(3)])
    report = made(VALUES[0], "SR", SeriesInstanceUID="1.2.5")
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    save(tmp_path / "report.dcm", report)
    sentence = refusal(tmp_path)
    assert "2 DICOM images: CT 'Thorax' 5 x 6 x 7 (name a0.dcm); MR 3 x 6 x 7 (name b0.dcm)" in sentence
    np.testing.assert_array_equal(read(tmp_path / "b1.dcm").array[0], VALUES[:3] + 1)
    first, second = series_in(tmp_path)
    assert (first.uid, first.modality, first.slices, first.shape) == ("1.2.3", "CT", 5, (5, 6, 7))
    assert (second.description, len(second.files)) == ("", 3)
    assert "of modality SR holds no image" in refusal(tmp_path / "report.dcm")


def test_localizers_do_not_mix_with_slices(tmp_path: Path) -> None:
    scout = slices(VALUES[:1], orientation=SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save_all(tmp_path, [*scout, *slices(VALUES)])
    np.testing.assert_array_equal(read(tmp_path).array[0], VALUES)
    assert read(tmp_path / "000.dcm").geometry.shape == (6, 7, 1)


def test_nothing_personal_leaves_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    save_all(tmp_path, slices(VALUES, SeriesDescription="head of JANE DOE"))
    image = read(tmp_path)
    write(image, tmp_path / "out.nii.gz")
    written = gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    told = f"{image.provenance}{series_in(tmp_path)}{caplog.text}{written.decode('latin-1')}".lower()
    for value in ("doe", "jane", *PERSONAL.values()):
        assert value.lower() not in told


def test_a_mask_on_a_series_is_written_on_its_grid(tmp_path: Path) -> None:
    image = read(save_all(tmp_path / "in", slices(VALUES, step=(0, 0.3, -2), origin=(5, 6, 7))))
    mask = image.with_array((image.array > 0).astype(np.uint8))
    write(mask, tmp_path / "mask.nii.gz")
    back = read(tmp_path / "mask.nii.gz")
    assert image.geometry.difference(back.geometry) is None
    np.testing.assert_array_equal(back.array, mask.array)
