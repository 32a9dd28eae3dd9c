from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags
from PIL import Image as Pillow

from unimiss import Geometry, Image, read, write
from unimiss.errors import InputError
from unimiss.io.probe import probe

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)


def made(array: np.ndarray) -> Image:
    return Image(array, Geometry.from_spacing(array.shape[1:], units="pixel"))


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        *(("L", 1, "uint8"), ("LA", 1, "uint8"), ("1", 1, "uint8"), ("I;16", 1, "uint16")),
        *(("RGB", 3, "uint8"), ("RGBA", 3, "uint8"), ("P", 3, "uint8")),
    ],
)
def test_every_kind_of_png_is_grey_or_rgb(tmp_path: Path, mode: str, channels: int, dtype: str) -> None:
    Pillow.new(mode, (5, 4)).save(tmp_path / "chest.png")
    image = read(tmp_path / "chest.png")
    assert (image.array.shape, image.array.dtype) == ((channels, 4, 5), dtype)
    assert (image.geometry.units, image.geometry.spacing) == ("pixel", (1, 1))


def test_palette_colours_and_one_bit_pixels_become_values(tmp_path: Path) -> None:
    palette = Pillow.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read(tmp_path / "palette.png").array[:, 0].T, [[10, 20, 30], [40, 50, 60]])
    Pillow.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read(tmp_path / "bit.png").array, [[[255, 0]]])


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535), ("int64", 65535), ("bool", 1)])
def test_a_png_is_a_round_trip(tmp_path: Path, dtype: str, top: int) -> None:
    array = np.array([[[0, 1, top], [1, 0, top]]], dtype)
    write(made(array), tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png").array, array)


def test_rgb_is_a_round_trip(tmp_path: Path) -> None:
    array = np.stack([GREY, GREY + 1, GREY + 2])
    write(made(array), tmp_path / "colour.png")
    np.testing.assert_array_equal(read(tmp_path / "colour.png").array, array)


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.JPEG"])
def test_an_exif_tag_turns_the_picture_upright(tmp_path: Path, name: str) -> None:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = np.zeros((40, 80), np.uint8)
    picture[:, :40] = 200
    Pillow.fromarray(picture).save(tmp_path / name, exif=exif)
    image = read(tmp_path / name)
    assert image.array.shape == (1, 80, 40)
    assert image.array[0, :30].min() > 150
    assert image.array[0, 50:].max() < 50
    assert probe(tmp_path / name).difference(image.geometry) is None


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Pillow.new("CMYK", (5, 4)).save(tmp_path / "print.jpg")
    with pytest.raises(InputError, match=r"print\.jpg: it has CMYK colours; save it as grey or RGB"):
        read(tmp_path / "print.jpg")


@pytest.mark.parametrize("side", [9500, 14000])
def test_a_decompression_bomb_is_refused_in_one_sentence(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    Pillow.new("1", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"bomb\.png: it has more than \d+ pixels"):
        read(tmp_path / "bomb.png")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 2, 3), np.float32), "whole numbers from 0 to 65535, not float32"),
        (np.full((1, 2, 3), -1), "cannot hold values from -1 to -1"),
        (np.full((1, 2, 3), 70000), "cannot hold values from 70000 to 70000"),
        (np.full((3, 2, 3), 256), "of 3 channels cannot hold values from 256"),
        (np.zeros((2, 2, 3), np.uint8), "1 or 3 channels, not 2"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"one flat picture, not \(2, 2, 3\) voxels"),
    ],
)
def test_what_a_png_cannot_hold_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=rf"mask\.png: a PNG .*{words}"):
        write(made(array), tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())


def test_a_gif_of_one_picture_is_read_and_a_film_is_refused(tmp_path: Path) -> None:
    mask = Pillow.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8))
    mask.save(tmp_path / "mask.gif")
    found = read(tmp_path / "mask.gif").array
    for channel in found:
        np.testing.assert_array_equal(channel, np.asarray(mask))
    mask.save(tmp_path / "film.gif", save_all=True, append_images=[mask.rotate(180)])
    with pytest.raises(InputError, match=r"film\.gif: it is a film of several pictures"):
        read(tmp_path / "film.gif")
