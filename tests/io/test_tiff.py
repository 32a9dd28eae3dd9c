from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unimiss import read
from unimiss.errors import InputError
from unimiss.io.probe import probe

rng = np.random.default_rng(0)
GREY = rng.integers(0, 65536, (20, 30)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["grey8", "grey16", "big endian", "rgb", "bilevel"])
@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
def test_a_page_is_read_as_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    array = {
        "grey8": (GREY >> 8).astype(np.uint8),
        "rgb": np.stack([GREY >> 8] * 3, -1).astype(np.uint8),
    }.get(kind, GREY)
    if kind == "bilevel":
        array = (GREY > 9000).astype(np.uint8) * 255
        Pillow.fromarray(array > 0).save(path)
    else:
        tifffile.imwrite(path, array, byteorder=">" if kind == "big endian" else "<")
    image = read(path)
    expected = array.transpose(2, 0, 1) if kind == "rgb" else array[None]
    np.testing.assert_array_equal(image.array, expected)
    assert image.array.dtype == expected.dtype
    assert image.array.dtype.isnative
    assert image.geometry.units == "pixel"
    assert probe(path).difference(image.geometry) is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_compressed_pages_are_read(tmp_path: Path, compression: str, mode: str) -> None:
    array = GREY if mode == "I;16" else (GREY >> 8).astype(np.uint8)
    Pillow.fromarray(array).save(tmp_path / "film.tif", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "film.tif").array[0], array)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_page_in_which_zero_is_white_is_turned_round(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1, np.iinfo(dtype).max]], dtype)
    tifffile.imwrite(tmp_path / "film.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "film.tif").array[0], np.iinfo(dtype).max - array)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2, 20, 30), "uint8", "it has 2 pages; save the one you mean"),
        ((12, 20, 30), "uint16", "its 12 pages are a volume .* save it as NIfTI, NRRD or MHA"),
        ((20, 30), "float32", "1 samples of 32 bits"),
        ((20, 30), "int16", "1 samples of 16 bits"),
        ((20, 30, 3), "uint16", "3 samples of 16 bits"),
    ],
)
def test_what_is_no_picture_of_one_page_is_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, words: str
) -> None:
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "film.tif", np.zeros(shape, dtype), photometric=photometric)
    for look in (read, probe):
        with pytest.raises(InputError, match=rf"film\.tif: .*{words}"):
            look(tmp_path / "film.tif")


def test_pages_in_a_circle_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, GREY, byteorder="<", metadata=None)
    raw = bytearray(path.read_bytes())
    first = int.from_bytes(raw[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(raw[first : first + 2], "little")
    raw[following : following + 4] = first.to_bytes(4, "little")
    path.write_bytes(raw)
    np.testing.assert_array_equal(read(path).array[0], GREY)


def test_a_header_that_claims_more_pixels_than_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, GREY, byteorder="<", metadata=None)
    raw = bytearray(path.read_bytes())
    first = int.from_bytes(raw[4:8], "little")
    for entry in range(int.from_bytes(raw[first : first + 2], "little")):
        at = first + 2 + 12 * entry
        if int.from_bytes(raw[at : at + 2], "little") in (256, 257):  # width, height
            raw[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 10**6)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"film\.tif: it has more than \d+ pixels"):
        read(path)
