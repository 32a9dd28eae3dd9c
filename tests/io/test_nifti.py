from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_geometry import affines, shapes

from unimiss import Geometry, Image, read, write
from unimiss.errors import InputError

POSITION = (
    *("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "pixdim", "xyzt_units"),
)
OBLIQUE = np.array([[-0.9, 0.3, 0.2, 10], [0.2, 0.1, 2.9, -20], [0.3, 1.2, -0.4, 30], [0, 0, 0, 1]])


def make_file(
    path: Path,
    data: NDArray[np.generic],
    affine: NDArray[np.float64] = OBLIQUE,
    sform: int = 1,
    qform: int = 0,
) -> Path:
    file = nibabel.Nifti1Image(data, affine, dtype=data.dtype)
    file.set_sform(affine, sform)
    file.set_qform(affine, qform, strip_shears=True)
    nibabel.save(file, path)
    return path


def numbers(*shape: int, dtype: str = "int16") -> NDArray[np.generic]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def assert_same_place(path: Path, source: Path) -> None:
    header, expected = nibabel.load(path).header, nibabel.load(source).header
    for field in POSITION:
        np.testing.assert_array_equal(header[field], expected[field], err_msg=field)


@given(shapes, affines(), st.sampled_from([(1, 0), (2, 1), (0, 1), (1, 4), (0, 0)]))
def test_what_is_read_and_written_is_the_file_again(
    tmp_path: Path, shape: tuple[int, ...], affine: NDArray[np.float64], codes: tuple[int, int]
) -> None:
    source = make_file(tmp_path / "source.nii", numbers(*shape), affine, *codes)
    image = read(source)
    assert image.geometry.orientation == "SPL"
    write(image, tmp_path / "copy.nii")
    np.testing.assert_array_equal(
        np.asarray(nibabel.load(tmp_path / "copy.nii").dataobj), np.asarray(nibabel.load(source).dataobj)
    )
    assert_same_place(tmp_path / "copy.nii", source)


@given(shapes, affines())
def test_every_voxel_is_where_nibabel_says(
    tmp_path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> None:
    source = make_file(tmp_path / "source.nii", numbers(*shape), affine)
    image = read(source)
    file = nibabel.load(source)
    for value in (0, np.prod(shape) // 2, np.prod(shape) - 1):
        (index,) = np.argwhere(image.array[0] == value)
        (ijk,) = np.argwhere(np.asarray(file.dataobj) == value)
        right, front, head = nibabel.affines.apply_affine(file.affine, ijk)
        np.testing.assert_allclose(image.geometry.to_world(index), [head, -front, -right], atol=1e-4)


@given(shapes, affines(shear=0))
def test_every_voxel_is_where_itk_says(
    tmp_path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> None:
    source = make_file(tmp_path / "source.nii", numbers(*shape), affine, 1, 1)
    image, file = read(source), sitk.ReadImage(str(source))
    voxels = sitk.GetArrayFromImage(file)
    for value in (0, np.prod(shape) - 1):
        (index,) = np.argwhere(image.array[0] == value)
        (kji,) = np.argwhere(voxels == value)
        point = file.TransformIndexToPhysicalPoint([int(v) for v in kji[::-1]])
        np.testing.assert_allclose(image.geometry.to_world(index), point[::-1], atol=1e-2)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_lies_on_its_source_voxel_for_voxel(tmp_path: Path, suffix: str) -> None:
    data = numbers(4, 5, 6, dtype="float32")
    data[1, 2, 3] = 1000
    source = make_file(tmp_path / f"source{suffix}", data, OBLIQUE, 1, 1)
    image = read(source)
    write(image.with_array(image.array == 1000), tmp_path / f"mask{suffix}")
    mask = nibabel.load(tmp_path / f"mask{suffix}")
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.argwhere(np.asarray(mask.dataobj)), [[1, 2, 3]])
    assert_same_place(tmp_path / f"mask{suffix}", source)


def test_the_rest_of_the_header_is_kept_but_not_the_display_window_and_the_meaning(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(numbers(4, 5, 6), OBLIQUE)
    file.header["descrip"] = b"thorax"
    file.header["cal_max"] = 400
    file.header.set_intent("z score")
    file.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(file, tmp_path / "source.nii.gz")
    write(read(tmp_path / "source.nii.gz"), tmp_path / "copy.nii.gz")
    header = nibabel.load(tmp_path / "copy.nii.gz").header
    assert bytes(header["descrip"]).rstrip(b"\0") == b"thorax"
    assert header.extensions[0].get_content().rstrip(b"\0") == b"kept"
    assert (header["cal_max"], header["intent_code"]) == (0, 0)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
def test_values_keep_their_kind(tmp_path: Path, dtype: str) -> None:
    data = numbers(3, 4, 5, dtype=dtype)
    data[0, 0, 0] = np.iinfo(dtype).max if data.dtype.kind in "iu" else 1e-7
    image = read(make_file(tmp_path / "source.nii.gz", data))
    assert image.array.dtype == dtype
    write(image, tmp_path / "copy.nii.gz")
    copy = nibabel.load(tmp_path / "copy.nii.gz")
    assert copy.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(copy.dataobj), data)


def test_scaled_values_become_float32_and_are_not_scaled_twice(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(numbers(3, 4, 5), OBLIQUE)
    file.header.set_slope_inter(0.5, -1024)
    nibabel.save(file, tmp_path / "source.nii")
    stored = np.asarray(nibabel.load(tmp_path / "source.nii").dataobj)
    assert stored.dtype == np.float64
    image = read(tmp_path / "source.nii")
    assert image.array.dtype == np.float32
    write(image, tmp_path / "copy.nii")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "copy.nii").dataobj), stored)


def test_big_endian_files_are_read_in_native_order(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(numbers(3, 4, 5), np.eye(4), header), tmp_path / "big.nii")
    assert nibabel.load(tmp_path / "big.nii").get_data_dtype() == np.dtype(">i2")
    array = read(tmp_path / "big.nii").array
    assert array.dtype.isnative
    np.testing.assert_array_equal(np.sort(array.ravel()), np.arange(60))


def test_nan_and_infinity_are_kept(tmp_path: Path) -> None:
    data = numbers(3, 4, 5, dtype="float32")
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    image = read(make_file(tmp_path / "source.nii.gz", data))
    assert (np.isnan(image.array).sum(), np.isinf(image.array).sum()) == (1, 2)
    write(image, tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "copy.nii.gz").dataobj), data)


def test_an_array_is_contiguous_its_own_and_independent_of_the_file(tmp_path: Path) -> None:
    source = make_file(tmp_path / "source.nii", numbers(3, 4, 5), np.diag([-1.0, -1, -1, 1]))
    array = read(source).array
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert not isinstance(array, np.memmap)
    source.unlink()
    assert array.max() == 59


def test_the_fourth_axis_becomes_channels_and_comes_back(tmp_path: Path) -> None:
    data = numbers(3, 4, 5, 2)
    source = make_file(tmp_path / "source.nii.gz", data)
    image = read(source)
    assert image.channels == 2
    assert sorted(image.geometry.shape) == [3, 4, 5]
    write(image, tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "copy.nii.gz").dataobj), data)
    write(image.with_array(image.array[:1]), tmp_path / "first.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "first.nii.gz").dataobj), data[..., 0])


def test_a_vector_file_has_its_components_as_channels(tmp_path: Path) -> None:
    data = numbers(3, 4, 5, 1, 3, dtype="float32")
    image = read(make_file(tmp_path / "vectors.nii", data, np.diag([-1.0, -1, 1, 1])))
    np.testing.assert_array_equal(image.array, data[:, :, :, 0].T)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_radiograph_with_any_number_of_channels_is_a_round_trip(tmp_path: Path, channels: int) -> None:
    image = Image(numbers(channels, 4, 6), Geometry.from_spacing((4, 6), (0.2, 0.125)))
    write(image, tmp_path / "chest.nii.gz")
    again = read(tmp_path / "chest.nii.gz")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.geometry.difference(image.geometry) is None
    assert again.geometry.units == "mm"
    write(again.with_array(again.array > 5), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "mask.nii.gz").array, image.array > 5)
    assert_same_place(tmp_path / "mask.nii.gz", tmp_path / "chest.nii.gz")


def test_a_radiograph_of_unknown_pixel_size_says_so(tmp_path: Path) -> None:
    write(Image(numbers(1, 4, 6), Geometry.from_spacing((4, 6), units="pixel")), tmp_path / "chest.nii")
    assert read(tmp_path / "chest.nii").geometry.units == "pixel"


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_other_units_of_length_become_millimetres(tmp_path: Path, unit: str, scale: float) -> None:
    file = nibabel.Nifti1Image(numbers(3, 4, 5), np.diag([2.0, 3, 4, 1]))
    file.header.set_xyzt_units(unit)
    nibabel.save(file, tmp_path / "source.nii")
    image = read(tmp_path / "source.nii")
    np.testing.assert_allclose(image.geometry.spacing, np.multiply([4, 3, 2], scale), rtol=1e-6)
    write(image, tmp_path / "copy.nii")
    assert_same_place(tmp_path / "copy.nii", tmp_path / "source.nii")


def test_an_image_made_here_states_its_place_twice(tmp_path: Path) -> None:
    geometry = Geometry.from_nifti((5, 4, 3), np.diag([-1.0, -2, 3, 1]))
    write(Image(numbers(1, 3, 4, 5), geometry), tmp_path / "made.nii.gz")
    file = nibabel.load(tmp_path / "made.nii.gz")
    assert (file.header["sform_code"], file.header["qform_code"]) == (1, 1)
    assert file.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(file.header.get_sform(), np.diag([-1, -2, 3, 1]))
    np.testing.assert_allclose(file.header.get_qform(), np.diag([-1, -2, 3, 1]))
    assert read(tmp_path / "made.nii.gz").geometry.difference(geometry) is None


def test_an_image_that_was_resampled_takes_no_position_from_its_source(tmp_path: Path) -> None:
    image = read(make_file(tmp_path / "source.nii", numbers(4, 5, 6)))
    fine = image.geometry.resized([2 * size for size in image.geometry.shape])
    resampled = Image(np.zeros((1, *fine.shape), np.uint8), fine, image.provenance)
    write(resampled, tmp_path / "fine.nii")
    assert read(tmp_path / "fine.nii").geometry.difference(fine) is None


def test_a_nifti_2_file_stays_one(tmp_path: Path) -> None:
    affine = OBLIQUE + 1e-12
    affine[3] = [0, 0, 0, 1]
    nibabel.save(nibabel.Nifti2Image(numbers(3, 4, 5), affine), tmp_path / "source.nii")
    write(read(tmp_path / "source.nii"), tmp_path / "copy.nii")
    assert isinstance(nibabel.load(tmp_path / "copy.nii"), nibabel.Nifti2Image)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "copy.nii").affine, affine)


def test_an_axis_too_long_for_nifti_1_makes_nifti_2(tmp_path: Path) -> None:
    write(
        Image(np.zeros((1, 1, 1, 40000), np.uint8), Geometry.from_spacing((1, 1, 40000))),
        tmp_path / "long.nii",
    )
    assert read(tmp_path / "long.nii").geometry.shape == (1, 1, 40000)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_large_integers_are_narrowed_or_refused_but_never_wrapped(tmp_path: Path, dtype: str) -> None:
    image = Image(numbers(1, 3, 4, 5, dtype=dtype), Geometry.from_spacing((3, 4, 5)))
    write(image, tmp_path / "labels.nii")
    np.testing.assert_array_equal(read(tmp_path / "labels.nii").array, image.array)
    image.array[0, 0, 0, 0] = 2**31
    with pytest.raises(InputError, match=r"labels\.nii: NIfTI holds whole numbers of 32 bit; .* 2147483648"):
        write(image, tmp_path / "labels.nii")
    assert read(tmp_path / "labels.nii").array.max() == 59


def test_an_array_of_any_strides_is_written(tmp_path: Path) -> None:
    data = numbers(1, 6, 8, 10)[:, ::-2, :, ::2]
    write(Image(data, Geometry.from_spacing(data.shape[1:])), tmp_path / "strides.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "strides.nii.gz").array, data)


def test_an_unknown_position_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(make_file(tmp_path / "lost.nii", numbers(3, 4, 5), np.eye(4), 0, 0))
    assert "lost.nii does not say how it lies in the patient" in caplog.text
