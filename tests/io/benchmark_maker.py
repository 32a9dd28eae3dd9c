"""Public benchmarks in small: generated images in the folders, under the names and with the tables of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
from dicom_maker import save_all, slices
from numpy.typing import NDArray
from PIL import Image as Pillow

import unimiss as engine

CHAOS = {"liver": 63, "right kidney": 126, "left kidney": 189, "spleen": 252}
SCR = ("heart", "left clavicle", "left lung", "right clavicle", "right lung")


def organs(shape: tuple[int, ...], values: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Boxes side by side in plane, each of another value, of slightly different height in every slice."""
    out = np.zeros(shape, np.uint8)
    width = shape[-1] // len(values)
    for n, value in enumerate(values):
        for k, plane in enumerate(out):
            plane[2 + k % 5 : shape[-2] - 2 - (seed + n) % 4, n * width : (n + 1) * width - 1] = value
    return out


def seen(mask: NDArray[np.uint8], low: float, step: float, seed: int) -> NDArray[np.int16]:
    """Noise in which every class has values of its own."""
    noise = np.random.default_rng(seed).normal(0, 5, mask.shape)
    return np.asarray(low + step * mask.astype(float) + noise, np.int16)


def volume(path: Path, values: NDArray[np.generic], spacing: tuple[float, ...] = (3.0, 1.0, 1.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    engine.write(engine.Image(values[None], engine.Geometry.from_spacing(values.shape, spacing)), path)


def picture(path: Path, values: NDArray[np.generic]) -> Path:
    """Write grey (rows, columns) or colour (rows, columns, 3) of 8 bit; the suffix says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def bcv(root: Path, cases: int = 4) -> Path:
    for n in range(1, cases + 1):
        mask = organs((12, 40, 52), tuple(range(1, 14)), n)
        volume(root / f"RawData/Training/img/img{n:04}.nii.gz", seen(mask, -100, 30, n))
        volume(root / f"RawData/Training/label/label{n:04}.nii.gz", mask)
    volume(root / "RawData/Testing/img/img0061.nii.gz", seen(mask, -100, 30, 61))
    return root / "RawData"


def stack(folder: Path, names: list[str], planes: NDArray[np.generic]) -> None:
    for name, plane in zip(names, planes, strict=True):
        picture(folder / f"{name}.png", plane)


def chaos(root: Path, patients: int = 3, kinds: tuple[str, ...] = ("MR",)) -> Path:
    """Numbers of slices count from the head down, as the scanner's; in and out of phase they alternate."""
    shape, down = (10, 32, 36), (0.0, 0.0, -4.0)
    for n in range(1, patients + 1):
        mask = organs(shape, tuple(CHAOS.values()), n)
        odd, even = ([f"IMG-0004-{2 * k + first:05}" for k in range(10)] for first in (1, 2))
        plain = [f"IMG-0002-{k + 1:05}" for k in range(10)]
        for place, names, uid in (
            ("T1DUAL/DICOM_anon/InPhase", even, "1.4.2"),
            ("T1DUAL/DICOM_anon/OutPhase", odd, "1.4.1"),
            ("T2SPIR/DICOM_anon", plain, "1.2"),
        ):
            values = seen(mask, 20, 2, crc32(f"{uid}.{n}".encode())).clip(0).astype(np.uint16)
            made = slices(values, step=down, modality="MR", SeriesInstanceUID=f"{uid}.{n}", PatientID="")
            save_all(root / f"Train_Sets/MR/{n}" / place, made, [f"{name}.dcm" for name in names])
        stack(root / f"Train_Sets/MR/{n}/T1DUAL/Ground", even, mask)
        stack(root / f"Train_Sets/MR/{n}/T2SPIR/Ground", plain, mask)
        if "CT" in kinds:
            liver = organs(shape, (255,), n)
            made = slices(seen(liver, -50, 1, n), step=down, SeriesInstanceUID=f"1.9.{n}", PatientID="")
            names = [f"i{k:04},0000b.dcm" for k in range(10)]
            save_all(root / f"Train_Sets/CT/{n}/DICOM_anon", made, names)
            stack(root / f"Train_Sets/CT/{n}/Ground", [f"liver_GT_{k:03}" for k in range(10)], liver)
    return root / "Train_Sets"


def ricord(root: Path, patients: int = 2) -> Path:
    """Of each group so many patients in each list, the first of whom has two series."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for g, (group, label) in enumerate((("MIDRC-RICORD-1A", 1), ("MIDRC-RICORD-1B", 0))):
        for s, lines in enumerate(lists.values()):
            for n in range(patients):
                for series in (2, 601) if n == 0 else (2,):
                    number = 100 * g + 10 * s + n
                    name = f"ID419639-{number:06}_date10-23-2002_{series}.000000-CHEST-NON-CON-46543.nii.gz"
                    mask = np.full((10, 24, 24), label, np.uint8)
                    values = seen(mask, -700, 400, 1000 * series + number)
                    volume(root / "data_nii_v0" / group / name, values)
                    lines.append(f"data_nii_v0/{group}/{name} {label}")
    for name, lines in lists.items():
        (root / "lists").mkdir(exist_ok=True)
        (root / "lists" / f"RICORD_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def jsrt(root: Path, cases: int = 3, size: int = 64) -> Path:
    """Odd numbers are in the first fold, even ones in the second; the heart lies over the left lung."""
    for n in range(1, cases + 1):
        whole = organs((1, size, size), (1, 2, 3, 4, 5), n)[0]
        picture(root / f"images/JPCLN{n:03}.png", seen(whole, 30, 40, n))
        for k, name in enumerate(SCR, start=1):
            mask = (whole == k) | ((whole == 3) if name == "heart" else False)
            picture(root / f"scratch/fold{2 - n % 2}/masks/{name}/JPCLN{n:03}.gif", 255 * mask)
    return root


def chestxr(root: Path, cases: int = 2) -> Path:
    """Numbers begin anew in the second folder: one name, two patients."""
    for split, names in (
        ("train", ("cov_", "normal-", "pneumonia")),
        ("validation", ("cov_", "normal_", "pneu_")),
    ):
        for k, (kind, name) in enumerate(zip(("covid", "normal", "pneumonia"), names, strict=True)):
            for n in range(cases):
                values = seen(np.full((40, 44), k, np.uint8), 60, 60, crc32(f"{split}{k}{n}".encode()))
                picture(root / split / kind / f"{name}{n}.png", values)
    return root


def isic(root: Path, lesions: int = 3) -> Path:
    """Three of seven classes, of so many lesions each; the first is seen twice, as a table of its own says."""
    codes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    truth, groups = [f"image,{','.join(codes)}"], ["image,lesion_id,diagnosis_confirm_type"]
    views = [(k, n) for k in range(3) for n in range(lesions) for _ in range(2 if n == 0 else 1)]
    for number, (k, lesion) in enumerate(views):
        name = f"ISIC_{24306 + number:07}"
        grey = seen(np.full((30, 40), k, np.uint8), 20, 30, number)
        colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
        picture(root / f"ISIC2018_Task3_Training_Input/{name}.jpg", colour)
        truth.append(f"{name}," + ",".join(f"{float(i == k)}" for i in range(len(codes))))
        groups.append(f"{name},HAM_{100 * k + lesion:07},histopathology")
    where = root / "ISIC2018_Task3_Training_GroundTruth"
    where.mkdir()
    (where / "ISIC2018_Task3_Training_GroundTruth.csv").write_text("\n".join(truth) + "\n")
    (root / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text("\n".join(groups) + "\n")
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "bcv": bcv,
    "chaos": lambda root: chaos(root) / "MR",
    "ricord": ricord,
    "jsrt": jsrt,
    "chestxr": chestxr,
    "isic": isic,
}
