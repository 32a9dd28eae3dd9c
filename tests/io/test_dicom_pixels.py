"""Values of DICOM objects: rescaling, multi-frame objects, films, colours, compressed pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_maker import AXIAL, exact, made, save, save_all, slices
from PIL import Image as Pillow
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from unimiss import read
from unimiss.errors import InputError
from unimiss.io import series_in
from unimiss.io.probe import probe

rng = np.random.default_rng(0)


def test_each_slice_is_rescaled_by_its_own_header(tmp_path: Path) -> None:
    series = slices(np.ones((3, 4, 4), np.uint16), modality="PT")
    for ds, slope in zip(series, (0.5, 1, 2), strict=True):
        ds.RescaleSlope, ds.RescaleIntercept = slope, 10
    image = read(save_all(tmp_path, series))
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0, :, 0, 0], [10.5, 11, 12])


@pytest.mark.parametrize(
    ("slope", "intercept", "top", "dtype"),
    [
        ("1", "-1024", 4095, "int16"),
        ("2", "0", 4095, "int16"),
        ("1", "-1024", 65535, "float32"),
        ("0.5", "0", 4095, "float32"),
        ("1", "0", 65535, "uint16"),
    ],
)
def test_rescaled_values_stay_whole_numbers_where_that_is_exact(
    tmp_path: Path, slope: str, intercept: str, top: int, dtype: str
) -> None:
    values = np.array([[[0, 1], [7, top]]] * 2, np.uint16)
    save_all(tmp_path, slices(values, RescaleSlope=slope, RescaleIntercept=intercept))
    image = read(tmp_path)
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0], values * float(slope) + float(intercept))


def enhanced(values: np.ndarray) -> Dataset:
    """Enhanced MR in one file: directions and spacing shared, positions and slopes for each frame."""
    ds = made(values, "MR")
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(AXIAL)
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in range(len(values)):
        position, scale, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = exact((1, 2, 20 - 2 * k))
        scale.RescaleSlope, scale.RescaleIntercept = k + 1, 0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [scale]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    return ds


def test_an_enhanced_object_is_a_volume_by_its_functional_groups(tmp_path: Path) -> None:
    values = rng.integers(0, 100, (4, 5, 6)).astype(np.uint16)
    image = read(save(tmp_path / "enhanced.dcm", enhanced(values)))
    scaled = values * np.arange(1, 5)[:, None, None]
    np.testing.assert_array_equal(image.array[0], scaled[::-1])
    assert image.array.dtype == np.int16
    np.testing.assert_allclose(image.geometry.to_world((0, 0, 0)), (14, 2, 1))
    np.testing.assert_allclose(image.geometry.spacing, (2, 0.75, 0.5))
    assert series_in(tmp_path)[0].shape == (4, 5, 6)
    assert probe(tmp_path).difference(image.geometry, 1e-9) is None


def test_a_moving_picture_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "cine.dcm", made(np.zeros((9, 4, 5), np.uint8), "US"))
    with pytest.raises(InputError, match="9 frames without places in the patient"):
        read(tmp_path / "cine.dcm")


def test_bone_is_bright_whichever_way_a_radiograph_is_stored(tmp_path: Path) -> None:
    film = np.array([[0, 100], [4000, 4095]], np.uint16)
    twelve = {"BitsStored": 12, "HighBit": 11, "ImagerPixelSpacing": [0.2, 0.1]}
    plain = read(save(tmp_path / "a" / "film.dcm", made(film, **twelve)))
    inverted = read(save(tmp_path / "b.dcm", made(film, PhotometricInterpretation="MONOCHROME1", **twelve)))
    np.testing.assert_array_equal(plain.array[0], film)
    np.testing.assert_array_equal(inverted.array[0], 4095 - film)
    assert (plain.array.dtype, plain.geometry.spacing, plain.geometry.units) == ("uint16", (0.2, 0.1), "mm")


def test_a_signed_inverted_film_turns_round_within_its_range(tmp_path: Path) -> None:
    film = np.array([[-100, 0, 99]], np.int16)
    image = read(save(tmp_path / "film.dcm", made(film, PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(image.array[0], [[99, -1, -100]])


def test_a_film_without_spacing_counts_in_pixels(tmp_path: Path) -> None:
    assert read(save(tmp_path / "film.dcm", made(np.eye(4, dtype=np.uint8)))).geometry.units == "pixel"


def test_two_films_of_one_series_are_two_images(tmp_path: Path) -> None:
    save_all(tmp_path, [made(np.eye(4, dtype=np.uint8), "DX"), made(np.ones((4, 4), np.uint8), "DX")])
    assert [series.shape for series in series_in(tmp_path)] == [(4, 4), (4, 4)]
    assert read(tmp_path / "001.dcm").array.min() == 1


def test_colours_become_channels(tmp_path: Path) -> None:
    picture = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image = read(save(tmp_path / "rgb.dcm", made(picture, "US")))
    np.testing.assert_array_equal(image.array, picture.transpose(2, 0, 1))
    planes = made(picture, "US", PlanarConfiguration=1, PixelData=picture.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(read(save(tmp_path / "planes.dcm", planes)).array, image.array)
    grey = np.full((4, 4, 3), 128, np.uint8)
    grey[..., 0] = 77  # luminance; without colour all three channels equal it
    ybr = read(save(tmp_path / "ybr.dcm", made(grey, "US", PhotometricInterpretation="YBR_FULL")))
    assert (ybr.array == 77).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_run_lengths_are_decoded(tmp_path: Path, dtype: str) -> None:
    values = rng.integers(0, 100, (1, 20, 30)).astype(dtype).repeat(3, 0)
    series = slices(values)
    for ds in series:
        ds.compress(RLELossless)
    np.testing.assert_array_equal(read(save_all(tmp_path, series)).array[0], values)


@pytest.mark.parametrize(
    ("compressor", "syntax"),
    [("JPEG", JPEGLosslessSV1), ("JPEG2000", JPEG2000Lossless)],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_losslessly_compressed_values_are_exact(
    tmp_path: Path, compressor: str, syntax: str, dtype: str
) -> None:
    values = rng.integers(-100 if dtype == "int16" else 0, 250, (24, 32)).astype(dtype)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(tmp_path / "film.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(values))
    assert dcmread(tmp_path / "film.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(np.squeeze(read(tmp_path / "film.dcm").array), values)


def test_jpeg_ls_is_decoded(tmp_path: Path) -> None:
    frame = bytes.fromhex(
        "ffd8fff7000b100004000501011100fff8000d01ffff0012004301140040ffda0008010100000000"
        "a63cc798b31ff44c898d624c8fd161581be98df9b79badc588ffd900"
    )
    values = np.arange(20, dtype=np.uint16).reshape(4, 5) * 100
    ds = made(values, PixelData=encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    np.testing.assert_array_equal(read(save(tmp_path / "film.dcm", ds)).array[0], values)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_photographic_jpeg_is_decoded(tmp_path: Path, mode: str) -> None:
    ramp = np.broadcast_to(np.linspace(20, 230, 40), (32, 40)).astype(np.uint8)
    picture = ramp if mode == "L" else np.stack([ramp, ramp // 2, 255 - ramp], -1)
    data = io.BytesIO()
    Pillow.fromarray(picture).save(data, "JPEG", quality=95)
    ds = made(picture, "XC", PixelData=encapsulate([data.getvalue()]))
    if mode == "RGB":
        ds.PhotometricInterpretation = "YBR_FULL_422"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image = read(save(tmp_path / "photo.dcm", ds))
    expected = picture[None] if mode == "L" else picture.transpose(2, 0, 1)
    np.testing.assert_allclose(image.array.astype(int), expected, atol=8)
