"""Headers that lie, files that were cut: one sentence each, no crash, and no memory for what is not there."""

from __future__ import annotations

import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_maker import PERSONAL, made, save, save_all, slices
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from unimiss import read
from unimiss.errors import InputError
from unimiss.io.dicom.headers import quiet
from unimiss.io.probe import probe

MEGABYTES = 2**20
FILM = np.random.default_rng(0).integers(0, 4096, (32, 40)).astype(np.uint16)


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whatever is read here is small: nothing may allocate much."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MEGABYTES


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    assert not any(value in sentence for value in PERSONAL.values())
    return sentence.removeprefix(f"{path}: ")


def changed(**elements: Any) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for name, value in elements.items():
            setattr(ds, name, value)

    return change


def without(*names: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for name in names:
            delattr(ds, name)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(Rows=65535, Columns=65535), "cut off: 2560 of 8589672450 bytes"),
        (changed(Columns=0), "32 x 0 pixels"),
        (changed(BitsAllocated=12), r"in 12 \(BitsStored"),
        (changed(BitsAllocated=64), r"in 64 \(BitsStored"),
        (changed(BitsStored=20), "have 20 bits in 16"),
        (changed(BitsStored=0), "have 0 bits in 16"),
        (changed(SamplesPerPixel=3), "MONOCHROME2 in 3 samples"),
        (changed(PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR in 1 samples"),
        (changed(PhotometricInterpretation="Doe^Jane"), "unknown in 1 samples"),
        (changed(RescaleSlope=0), "has RescaleSlope 0"),
        (without("PixelData"), "no pixels as whole numbers"),
        (without("Rows"), "holds no image"),
        (without("BitsAllocated"), r"in 0 \(BitsStored"),
    ],
)
def test_a_header_that_contradicts_its_pixels_is_refused(
    tmp_path: Path, change: Callable[[Dataset], None], words: str
) -> None:
    ds = made(FILM)
    change(ds)
    assert re.search(words, refusal(save(tmp_path / "film.dcm", ds)))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_billion_frames_that_are_not_there_are_refused(tmp_path: Path, syntax: str) -> None:
    ds = made(FILM)
    ds.compress(syntax)
    ds.NumberOfFrames = 10**9
    assert "1000000000 frames" in refusal(save(tmp_path / "film.dcm", ds))
    ds.NumberOfFrames, ds.Rows, ds.Columns = 1, 65535, 65535
    assert "65535 x 65535 pixels, more than" in refusal(save(tmp_path / "film.dcm", ds))


def test_compressed_data_larger_than_the_header_says_is_not_decoded(tmp_path: Path) -> None:
    ds = made(FILM)
    ds.compress(JPEG2000Lossless)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    size = frame.index(b"\xff\x4f\xff\x51") + 8
    huge = frame[:size] + (60000).to_bytes(4, "big") * 2 + frame[size + 8 :]
    ds.PixelData = encapsulate([huge])
    assert "32 x 40 pixels and its compressed data 60000 x 60000" in refusal(save(tmp_path / "film.dcm", ds))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImagePositionPatient", [0, 0, float("inf")]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0]),
        ("PixelSpacing", [0, 1]),
        ("PixelSpacing", [-1, 1]),
    ],
)
def test_a_slice_without_a_possible_place_is_refused_by_name(tmp_path: Path, name: str, value: Any) -> None:
    series = slices(np.stack([FILM] * 3))
    setattr(series[1], name, value)
    sentence = refusal(save_all(tmp_path, series))
    assert "001.dcm" in sentence
    assert name in sentence


def test_text_in_place_of_a_number_is_refused_and_not_repeated(tmp_path: Path) -> None:
    ds = slices(FILM[None])[0]
    path = save(tmp_path / "slice.dcm", ds)
    spoiled = path.read_bytes().replace(b"0.75\\0.5", b"Doe^Jane")
    path.write_bytes(spoiled)
    assert "Jane" not in refusal(path)
    with pytest.raises(InputError, match=r"slice\.dcm"):
        probe(path)
    path = save(tmp_path / "film.dcm", made(FILM, NumberOfFrames=1))
    frames = b"\x28\x00\x08\x00IS"
    spoiled = path.read_bytes().replace(frames + b"\x02\x001 ", frames + b"\x08\x00Doe^Jane")
    path.write_bytes(spoiled)
    assert "Jane" not in refusal(path)


def test_complaints_of_libraries_lose_the_values_that_they_quote(recwarn: pytest.WarningsRecorder) -> None:
    @quiet()
    def complain() -> None:
        warnings.warn("Invalid value: Doe^Jane", stacklevel=1)
        raise KeyError("Doe^Jane")

    with pytest.raises(ValueError, match=r"^pydicom cannot decode it: KeyError$") as caught:
        complain()
    assert caught.value.__suppress_context__
    assert not recwarn.list


@pytest.mark.parametrize("group", [b"\x02\x00\x02\x01OB", b"\x08\x00\x05\x00UT"])
def test_an_element_that_claims_gigabytes_gets_what_the_file_holds(tmp_path: Path, group: bytes) -> None:
    path = save(tmp_path / "film.dcm", made(FILM))
    raw = path.read_bytes()
    start = raw.index(b"\x08\x00\x16\x00UI")
    path.write_bytes(raw[:start] + group + b"\0\0" + (3 * 2**30).to_bytes(4, "little") + raw[start:])
    refusal(path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
def test_a_cut_slice_is_named(tmp_path: Path, part: float) -> None:
    save_all(tmp_path, slices(np.stack([FILM] * 3)))
    whole = (tmp_path / "001.dcm").read_bytes()
    (tmp_path / "001.dcm").write_bytes(whole[: int(part * len(whole))])
    assert "001.dcm" in refusal(tmp_path) or "missing between 000.dcm and 002.dcm" in refusal(tmp_path)


def test_a_deflated_header_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    ds = made(np.zeros((4000, 4000), np.uint16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    tracemalloc.stop()  # writing it takes memory
    path = save(tmp_path / "film.dcm", ds)
    del ds
    tracemalloc.start()
    assert path.stat().st_size < MEGABYTES
    assert "deflated" in refusal(path)


def test_sequences_without_end_are_refused(tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + item
    path = save(tmp_path / "film.dcm", made(FILM))
    raw = path.read_bytes()
    start = raw.index(b"\x08\x00\x16\x00UI")
    path.write_bytes(raw[:start] + nested * 20000 + raw[start:])
    refusal(path)


def test_frames_that_are_not_described_are_refused(tmp_path: Path) -> None:
    ds = made(np.stack([FILM] * 3), "MR")
    ds.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]
    assert "describes 2 of 3 frames" in refusal(save(tmp_path / "mr.dcm", ds))
    ds.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset(), Dataset()]
    assert "frame 1 has no ImagePositionPatient" in refusal(save(tmp_path / "mr.dcm", ds))


def test_an_unknown_coding_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "film.dcm", made(FILM))
    raw = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.9\0")
    path.write_bytes(raw)
    assert "unknown syntax" in refusal(path)


@settings(max_examples=150)
@given(
    compressed=st.booleans(),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_spoiled_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, places: list[tuple[float, int]]
) -> None:
    ds = slices(FILM[None, :, :32])[0]
    if compressed:
        ds.compress(JPEG2000Lossless)
    path = save(tmp_path_factory.mktemp("spoiled") / "slice.dcm", ds)
    raw = bytearray(path.read_bytes())
    for at, value in places:
        raw[132 + int(at * (len(raw) - 133))] = value
    path.write_bytes(raw)
    said = ""
    for look in (read, probe):
        try:
            look(path)
        except InputError as error:
            said += str(error)
    assert "\n" not in said
    assert not any(value in said for value in PERSONAL.values())
