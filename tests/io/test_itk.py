from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from numpy.typing import NDArray
from test_geometry import affines, shapes

from unimiss import Geometry, Image, read, write
from unimiss.errors import InputError

SUFFIXES = (".nrrd", ".mha")
both_formats = pytest.mark.parametrize("suffix", SUFFIXES)


def make_file(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Path:
    file = sitk.GetImageFromArray(data)
    if affine is not None:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        file.SetSpacing(spacing.tolist())
        file.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        file.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(file, str(path), True)
    return path


def numbers(*shape: int) -> NDArray[np.int32]:
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


def position(file: sitk.Image) -> NDArray[np.float64]:
    return np.concatenate([file.GetSpacing(), file.GetOrigin(), file.GetDirection()])


@both_formats
@given(shapes, affines())
def test_what_is_read_and_written_is_the_file_again(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> None:
    source = sitk.ReadImage(str(make_file(tmp_path / f"source{suffix}", numbers(*shape), affine)))
    image = read(tmp_path / f"source{suffix}")
    assert image.geometry.orientation == "SPL"
    write(image, tmp_path / f"copy{suffix}")
    copy = sitk.ReadImage(str(tmp_path / f"copy{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(copy), numbers(*shape))
    # NRRD stores products of spacing and direction, which ITK takes apart with rounding
    np.testing.assert_allclose(
        position(copy), position(source), rtol=0, atol=1e-12 if suffix == ".nrrd" else 0
    )


@both_formats
@given(shapes, affines())
def test_every_voxel_is_where_itk_says(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> None:
    path = make_file(tmp_path / f"source{suffix}", numbers(*shape), affine)
    image, file = read(path), sitk.ReadImage(str(path))
    for value in (0, int(np.prod(shape)) - 1):
        (index,) = np.argwhere(image.array[0] == value)
        (kji,) = np.argwhere(numbers(*shape) == value)
        point = file.TransformIndexToPhysicalPoint([int(v) for v in kji[::-1]])
        np.testing.assert_allclose(image.geometry.to_world(index), point[::-1], atol=1e-9)


@both_formats
@given(affine=affines())
def test_another_format_keeps_the_place(tmp_path: Path, suffix: str, affine: NDArray[np.float64]) -> None:
    geometry = Geometry.from_nifti((5, 4, 3), affine)
    image = Image(numbers(1, 3, 4, 5), geometry)
    write(image, tmp_path / "source.nii")
    source = read(tmp_path / "source.nii")
    write(source, tmp_path / f"copy{suffix}")
    copy = read(tmp_path / f"copy{suffix}")
    np.testing.assert_array_equal(copy.array, source.array)
    assert copy.geometry.difference(source.geometry, 1e-6) is None


@both_formats
def test_vector_pixels_become_channels_and_come_back(tmp_path: Path, suffix: str) -> None:
    file = sitk.GetImageFromArray(numbers(3, 4, 5, 2), isVector=True)
    sitk.WriteImage(file, str(tmp_path / f"source{suffix}"))
    image = read(tmp_path / f"source{suffix}")
    assert image.array.shape == (2, 3, 4, 5)
    write(image, tmp_path / f"copy{suffix}")
    copy = sitk.ReadImage(str(tmp_path / f"copy{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(copy), numbers(3, 4, 5, 2))


@both_formats
@pytest.mark.parametrize("channels", [1, 3])
def test_a_radiograph_is_a_round_trip(tmp_path: Path, suffix: str, channels: int) -> None:
    image = Image(numbers(channels, 4, 6), Geometry.from_spacing((4, 6), (0.2, 0.125)))
    write(image, tmp_path / f"chest{suffix}")
    again = read(tmp_path / f"chest{suffix}")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.geometry.spacing == (0.2, 0.125)


@both_formats
def test_a_radiograph_keeps_the_origin_of_its_file(tmp_path: Path, suffix: str) -> None:
    file = sitk.GetImageFromArray(numbers(4, 6))
    file.SetOrigin((7.5, -3.25))
    sitk.WriteImage(file, str(tmp_path / f"chest{suffix}"))
    image = read(tmp_path / f"chest{suffix}")
    write(image.with_array(image.array > 3), tmp_path / f"mask{suffix}")
    mask = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert mask.GetOrigin() == (7.5, -3.25)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), numbers(4, 6) > 3)


@both_formats
@pytest.mark.parametrize("dtype", ["bool", "float16", "float64", "int64", "uint16"])
def test_every_kind_of_number_can_be_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    data = (numbers(1, 3, 4, 5) % 2).astype(dtype)[:, ::-1]
    write(Image(data, Geometry.from_spacing((3, 4, 5))), tmp_path / f"copy{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"copy{suffix}").array, data)


@both_formats
def test_an_image_that_was_resampled_takes_no_position_from_its_source(tmp_path: Path, suffix: str) -> None:
    image = read(make_file(tmp_path / f"source{suffix}", numbers(4, 5, 6)))
    fine = image.geometry.resized((8, 5, 6))
    write(Image(np.zeros((1, 8, 5, 6), np.uint8), fine, image.provenance), tmp_path / f"fine{suffix}")
    assert read(tmp_path / f"fine{suffix}").geometry.difference(fine) is None


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([3, 3, 3, 3], sitk.sitkInt16), str(tmp_path / "time.nrrd"))
    with pytest.raises(InputError, match=r"time\.nrrd: it has 4 dimensions; an image has 2 or 3"):
        read(tmp_path / "time.nrrd")


def test_complex_values_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([3, 3, 3], sitk.sitkComplexFloat32), str(tmp_path / "k.nrrd"))
    with pytest.raises(InputError, match=r"k\.nrrd: it holds complex64 values"):
        read(tmp_path / "k.nrrd")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_header_that_points_at_another_file_is_refused(tmp_path, suffix):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(64)))
    if suffix == ".mha":
        text = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = secret.bin\n"
    else:
        text = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: secret.bin\n\n"
    path = tmp_path / f"detached{suffix}"
    path.write_text(text)
    with pytest.raises(InputError, match="another file"):
        read(path)


@both_formats
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_compressed_voxels_that_were_changed_are_refused_instead_of_read_as_noise(tmp_path, suffix, place):
    rng = np.random.default_rng(0)
    path = make_file(tmp_path / f"scan{suffix}", rng.integers(0, 99, (12, 24, 24)).astype(np.int16))
    read(path)
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at : at + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read(path)


@both_formats
@pytest.mark.parametrize("shape", ["2000 2000 2000", "5 4 4", "99999999999 2 2"])
def test_a_shape_that_the_compressed_voxels_do_not_fill_is_refused(tmp_path, suffix, shape):
    path = make_file(tmp_path / f"scan{suffix}", numbers(3, 4, 5))
    content = path.read_bytes()
    assert b"5 4 3" in content
    path.write_bytes(content.replace(b"5 4 3", shape.encode(), 1))
    with pytest.raises(InputError, match="its voxels are 240 bytes, and its header says"):
        read(path)
