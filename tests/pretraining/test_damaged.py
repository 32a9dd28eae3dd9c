"""A folder with images damaged in every way: each is named once, the others are trained on."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_maker import made, save, save_all, slices
from PIL import Image as Pillow
from test_files import as_nobody

from unimiss import Geometry, Image, write
from unimiss.data import filling
from unimiss.data.cache import Cache
from unimiss.data.cases import find_images
from unimiss.pretraining import PretrainConfig, pretrain
from unimiss.pretraining.prepare import prepare_all
from unimiss.runs import Run, State

RNG = np.random.default_rng(0)
GOOD = 10  # of each kind
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha")
PICTURES = (".png", ".jpg", ".tif", ".dcm")
TINY = {
    "steps": 2,
    "precision": "32-true",
    "batch_2d": 2,
    "batch_3d": 2,
    "size_2d": (32, 32),
    "size_3d": (4, 32, 32),
    "spacing": (1.0, 1.0, 1.0),
    "outputs": 16,
    "epochs_each": 1,
    "epoch_2d": 1,
    "epoch_3d": 1,
    "holdout": 0,
}


def volume(path: Path, values: np.ndarray | None = None) -> Path:
    array = RNG.integers(-1000, 1000, (8, 34, 36)).astype(np.int16) if values is None else values
    write(Image(array[None], Geometry.from_spacing(array.shape)), path)
    return path


def picture(path: Path, values: np.ndarray | None = None) -> Path:
    array = RNG.integers(0, 256, (40, 44), dtype=np.uint8) if values is None else values
    if path.suffix == ".dcm":
        return save(path, made(array))
    Pillow.fromarray(array).save(path)
    return path


def changed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"This is no image.\n" * 40,
    "zeros": lambda data: bytes(400) + data[400:],
}


def claims_too_much(path: Path) -> Path:
    """Let a header claim terabytes."""
    if path.suffix == ".nii":
        return changed(path, lambda data: data[:42] + struct.pack("<3h", 30000, 30000, 30000) + data[48:])
    if path.suffix == ".gz":
        header = nibabel.Nifti1Header()
        header.set_data_shape((30000, 30000, 30000))
        path.write_bytes(gzip.compress(header.binaryblock + bytes(100)))
        return path
    if path.suffix == ".png":
        size = struct.pack(">2I", 2**31 - 1, 2**31 - 1)

        def enlarged(data: bytes) -> bytes:
            head = data[12:16] + size + data[24:29]
            return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]

        return changed(path, enlarged)
    return changed(path, lambda data: data.replace(b"36 34 8", b"30000 30000 30000", 1))


def damaged_volumes(folder: Path) -> set[Path]:
    found = {
        changed(volume(folder / f"{kind}{suffix}"), change)
        for suffix in VOLUMES
        for kind, change in BYTES.items()
    }
    found |= {claims_too_much(volume(folder / f"huge{suffix}")) for suffix in VOLUMES}
    wrong_sum = changed(volume(folder / "crc.nii.gz"), lambda data: data[:-8] + b"\1\2\3\4" + data[-4:])
    noise = changed(volume(folder / "noise.nrrd"), lambda data: data[:9000] + bytes(100) + data[9100:])
    flat = folder / "flat.nii.gz"
    write(Image(np.ones((1, 40, 40), np.uint8), Geometry.from_spacing((40, 40))), flat)
    strange = {
        volume(folder / "constant.nii.gz", np.full((8, 34, 36), 7, np.int16)),
        volume(folder / "tiny.nrrd", RNG.integers(0, 9, (2, 5, 5)).astype(np.int16)),
        volume(folder / "nan.nii.gz", np.full((8, 34, 36), np.nan, np.float32)),
        wrong_sum,
        noise,
        flat,
    }
    return found | strange | damaged_series(folder) | strange_places(folder)


def series(folder: Path) -> Path:
    """Ten slices; what stands for them is the first file."""
    values = RNG.integers(0, 1000, (10, 34, 36)).astype(np.uint16)
    ids = {"SeriesInstanceUID": f"1.2.{zlib.crc32(folder.name.encode())}", "RescaleIntercept": "-1000"}
    save_all(folder, slices(values, step=(0.0, 0.0, 1.0), spacing=(1.0, 1.0), **ids))
    return folder / "000.dcm"


def damaged_series(folder: Path) -> set[Path]:
    missing, cut, torn = (series(folder / name) for name in ("missing", "cut", "torn"))
    (missing.parent / "004.dcm").unlink()
    changed(cut.parent / "004.dcm", lambda data: data[:-500])
    headless = changed(torn.parent / "004.dcm", lambda data: data[:150])  # the others have a gap now
    return {missing, cut, torn, headless}


def strange_places(folder: Path) -> set[Path]:
    (folder / "link.nii.gz").symlink_to(folder / "nowhere.nii.gz")
    (folder / "folder.nii.gz").mkdir()
    (folder / "folder.nii.gz" / "notes.txt").write_text("nothing")
    (folder / "wrapped.nii").mkdir()
    volume(folder / "wrapped.nii" / "wrapped.nii")  # as some programs unpack archives: a good one
    found = {folder / "link.nii.gz", folder / "folder.nii.gz"}
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        locked = volume(folder / "locked.nii.gz")
        locked.chmod(0)
        found.add(locked)
    return found


def damaged_pictures(folder: Path) -> set[Path]:
    found = {
        changed(picture(folder / f"{kind}{suffix}"), change)
        for suffix in PICTURES
        for kind, change in BYTES.items()
    }
    return found | {
        claims_too_much(picture(folder / "huge.png")),
        picture(folder / "constant.png", np.full((40, 44), 7, np.uint8)),
        picture(folder / "tiny.png", RNG.integers(0, 9, (5, 5), dtype=np.uint8)),
        picture(folder / "black.dcm", np.zeros((40, 44), np.uint8)),
        volume(folder / "deep.nii.gz"),
    }


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> tuple[Path, set[Path], int]:
    """Folder with "flat" and "deep" images, the damaged ones among them, and how many are good."""
    root = tmp_path_factory.mktemp("hospital")
    flat, deep = root / "flat", root / "deep"
    flat.mkdir()
    deep.mkdir()
    for n in range(GOOD):
        for suffix in PICTURES:
            picture(flat / f"good{n}{suffix}")
        for suffix in VOLUMES:
            volume(deep / f"good{n}{suffix}")
    series(deep / "goodseries")
    bad = damaged_pictures(flat) | damaged_volumes(deep)
    return root, bad, GOOD * len(PICTURES) + GOOD * len(VOLUMES) + 2


def check(run: Run, bad: set[Path], good: int) -> None:
    assert run.state == State.FINISHED
    assert len(run.metrics()) == 2
    warnings = [event["message"] for event in run.events() if event["kind"] == "warning"]
    left_out = [warning for warning in warnings if warning.startswith("left out: ")]
    wrong = {path: n for path in bad if (n := sum(f"{path}:" in w or f"{path} " in w for w in left_out)) != 1}
    assert not wrong, left_out
    assert len(left_out) == len(bad), left_out
    assert all("\n" not in warning and len(warning) < 500 for warning in left_out)
    manifest = run.manifest()
    assert len(manifest["images"]) + len(manifest["volumes"]) == good
    assert {Path(entry["image"]) for entry in manifest["left_out"]} == bad
    assert sorted(f"left out: {entry['reason']}" for entry in manifest["left_out"]) == sorted(left_out)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows makes no symbolic links for everybody")
def test_every_damaged_image_is_named_once_and_the_others_are_trained_on(damaged, tmp_path):
    root, bad, good = damaged
    command = [sys.executable, "-m", "unimiss", "pretrain", "--run", str(tmp_path / "run")]
    command += ["--images", str(root / "flat"), "--volumes", str(root / "deep")]
    for name, value in TINY.items():
        command += ["--set", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    check(Run(tmp_path / "run"), bad, good)
    spoken = [line for line in done.stderr.splitlines() if "does not say how it lies" not in line]
    assert all("cannot be read as DICOM" in line for line in spoken), spoken
    assert len(spoken) == len(set(spoken))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows makes no symbolic links for everybody")
def test_several_processes_name_the_same_images(damaged, tmp_path, monkeypatch):
    root, bad, good = damaged
    monkeypatch.setenv("UNIMISS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(filling, "_worth_while", lambda cases: 2)
    settings = PretrainConfig.build({**TINY, "images": [root / "flat"], "volumes": [root / "deep"]})
    check(pretrain(settings, tmp_path / "run"), bad, good)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of Unix")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_may_not_be_searched_is_named(mode):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        good = picture(folder / "good.png")
        (folder / "locked").mkdir()
        picture(folder / "locked" / "b.png")
        (folder / "locked").chmod(mode)
        warnings: list[str] = []
        with as_nobody():
            found = find_images([folder])
            prepared = prepare_all(found, None, Cache(folder / "cache"), lambda share: None, warnings.append)
        assert [case.path for case in prepared.cases] == [good]
        assert warnings == [
            f"left out: {folder / 'locked'}: this user may not read it; change its permissions"
        ]
        (folder / "locked").chmod(0o755)
