from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import nibabel
import numpy as np
import pytest
from dicom_maker import made, save

from unimiss import Geometry, Image, read, write
from unimiss.errors import InputError, JobError
from unimiss.io import IMAGE_SUFFIXES, dicom, suffix_of
from unimiss.io.probe import probe

WRITABLE = (".nii", ".nii.gz", ".nrrd", ".mha", ".png")
FLAT = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", *dicom.SUFFIXES)
rng = np.random.default_rng(0)


def example(suffix: str, side: int = 12) -> Image:
    shape = (4 * side, 4 * side) if suffix in FLAT else (side, side, side)
    return Image(rng.integers(0, 256, (1, *shape)).astype(np.uint8), Geometry.from_spacing(shape))


def file_bytes(folder: Path, suffix: str) -> bytes:
    path = folder / f"whole{suffix}"
    if suffix in WRITABLE:
        write(example(suffix), path)
    elif suffix in dicom.SUFFIXES:
        save(path, made(example(suffix).array[0]))
    else:
        from PIL import Image as Pillow

        Pillow.fromarray(example(suffix).array[0]).save(path)
    return path.read_bytes()


def refusal(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the sentence with which `read` refuses a file; nothing else may be said anywhere."""
    with pytest.raises(InputError) as caught:
        read(path)
    spoken = capfd.readouterr()
    assert spoken.out + spoken.err == ""
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the right to read everything, which tests in a container often have."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
@pytest.mark.parametrize("part", [1, 10, 60, 0.5, 0.95])
def test_a_truncated_file_is_refused(
    tmp_path: Path, suffix: str, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = file_bytes(tmp_path, suffix)
    cut = int(part * len(whole)) if part < 1 else int(part)
    (tmp_path / f"cut{suffix}").write_bytes(whole[:cut])
    assert "copy it again from its source" in refusal(tmp_path / f"cut{suffix}", capfd)


def test_a_wrong_check_sum_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(file_bytes(tmp_path, ".nii.gz"))
    content[-6] ^= 0xFF
    (tmp_path / "copy.nii.gz").write_bytes(content)
    assert "CRC check failed" in refusal(tmp_path / "copy.nii.gz", capfd)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_pipe_is_refused_without_waiting_for_its_writer(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    assert "is no file" in refusal(tmp_path / f"pipe{suffix}", capfd)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_text_file_is_refused(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"note{suffix}").write_text("hello world\n" * 60)
    assert f"is not a {suffix} file" in refusal(tmp_path / f"note{suffix}", capfd)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_an_empty_missing_or_unreadable_file_or_a_folder_is_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"image{suffix}"
    assert "no such file" in refusal(path, capfd)
    path.write_bytes(b"")
    assert "empty (0 bytes)" in refusal(path, capfd)
    path.write_bytes(file_bytes(tmp_path, suffix))
    read(path)
    if sys.platform != "win32":
        path.chmod(0)
        with as_nobody():
            sentence = refusal(path, capfd)
        assert "permission" in sentence or "no such file" in sentence
    path.unlink()
    path.mkdir()
    assert "this is a folder" in refusal(path, capfd)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.docx").write_text("x")
    assert "use one of .nii.gz, .nii" in refusal(tmp_path / "notes.docx", capfd)
    with pytest.raises(InputError, match=r"cannot write this kind of file; use one of .nii.gz"):
        write(example(".nii"), tmp_path / "image.jpg")


def with_field(folder: Path, offset: int, value: float) -> Path:
    """Return a NIfTI file with another value in one field of its header."""
    raw = bytearray(file_bytes(folder, ".nii"))
    kind = "<f4" if isinstance(value, float) else "<i2"
    raw[offset : offset + np.dtype(kind).itemsize] = np.array([value], kind).tobytes()
    path = folder / "strange.nii"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(("offset", "value"), [(252, 77), (0, 340), (80, -2.0), (80, 0.0)])
def test_nibabel_does_not_talk_about_strange_headers(
    tmp_path: Path, offset: int, value: float, capfd: pytest.CaptureFixture[str]
) -> None:
    read(with_field(tmp_path, offset, value))
    spoken = capfd.readouterr()
    assert spoken.out + spoken.err == ""


@pytest.mark.parametrize(("offset", "value"), [(70, 99), (108, 13.0), (42, -3)])
def test_a_damaged_header_is_refused(
    tmp_path: Path, offset: int, value: float, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "is damaged" in refusal(with_field(tmp_path, offset, value), capfd)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_claims_more_than_the_memory_is_refused(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    raw = header.binaryblock + b"\0" * 100
    path = tmp_path / f"huge{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else raw)
    assert "memory" in refusal(path, capfd) or "damaged" in refusal(path, capfd)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.b.NII.GZ", "A.MHA", "x.y.png"])
def test_a_suffix_is_known_in_any_case(name: str) -> None:
    assert suffix_of(name) == name.lower()[name.lower().index(".nii") if "nii" in name.lower() else -4 :]
    assert suffix_of("nii.gz.txt") == ""


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_probe_gives_the_grid_that_reading_gives(tmp_path: Path, suffix: str) -> None:
    file_bytes(tmp_path, suffix)
    path = tmp_path / f"whole{suffix}"
    found, expected = probe(path), read(path).geometry
    assert found.difference(expected, 1e-9) is None
    assert found.units == expected.units
    with pytest.raises(InputError, match=r"lost.*no such file"):
        probe(tmp_path / f"lost{suffix}")


@pytest.mark.parametrize("suffix", WRITABLE)
def test_names_outside_ascii_work(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "Röntgen 胸部" / f"Lunge ü{suffix}"
    image = example(suffix)
    write(image, path)
    np.testing.assert_array_equal(read(path).array, image.array)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JobError, match=r"could not be written: .*file is not a folder"):
        write(example(suffix), tmp_path / "file" / f"image{suffix}")


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_full_disk_leaves_the_earlier_file_and_no_other(
    tmp_path: Path, suffix: str, run_on_full_disk: Callable[[str], CompletedProcess[str]]
) -> None:
    write(example(suffix), tmp_path / f"image{suffix}")
    earlier = (tmp_path / f"image{suffix}").read_bytes()
    done = run_on_full_disk(f"""
import numpy as np, unimiss
shape = (500, 500) if {suffix!r} == ".png" else (60, 60, 60)
values = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
image = unimiss.Image(values, unimiss.Geometry.from_spacing(shape))
fill_disk(3000)
try:
    unimiss.write(image, "image{suffix}")
except unimiss.UnimissError as error:
    print(error.exit_code, error)
""")
    assert done.stderr == ""
    assert done.stdout.startswith(f"1 image{suffix} could not be written: ")
    assert done.stdout.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"image{suffix}"]
    assert (tmp_path / f"image{suffix}").read_bytes() == earlier


@pytest.mark.parametrize("suffix", WRITABLE)
def test_values_that_no_file_holds_are_refused(tmp_path: Path, suffix: str) -> None:
    image = example(suffix)
    with pytest.raises(InputError, match="complex64 values cannot be written"):
        write(image.with_array(image.array.astype(np.complex64)), tmp_path / f"image{suffix}")
    nothing = Image(np.zeros((1, 0, 4)), Geometry.from_spacing((0, 4)))
    with pytest.raises(InputError, match="without voxels"):
        write(nothing, tmp_path / f"image{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_array_must_fit_its_grid() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 5\) is not a channel axis and \(4, 5\)"):
        Image(np.zeros((4, 5)), Geometry.from_spacing((4, 5)))
