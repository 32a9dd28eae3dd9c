"""The generated patients: reproducible, anatomically placed, the same on every grid."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import unimiss
from unimiss.errors import InputError
from unimiss.samples import ORGANS, Torso, radiograph, torso, write_dataset, write_radiographs

COARSE = (8.0, 6.0, 6.0)
SEEDS = range(4)
NUMBER = {name: value for value, name in ORGANS.items()}
EXPECTED_VOXELS = [11121, 2056, 4277, 404, 818, 1413, 1508]  # of seed 0, in the order of `ORGANS`


@cache
def scan(seed: int) -> Torso:
    return torso(seed, spacing=COARSE)


@cache
def film(seed: int) -> unimiss.Image:
    return radiograph(seed)


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def places(case: Torso, organ: str) -> np.ndarray:
    """World coordinates (z, y, x) of an organ's voxels."""
    return case.labels.geometry.to_world(np.argwhere(case.labels.array[0] == NUMBER[organ]))


def test_one_seed_gives_the_same_bytes() -> None:
    first, second = scan(0), torso(0, spacing=COARSE)
    assert digest(first.image.array, first.labels.array) == digest(second.image.array, second.labels.array)


def test_one_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset(tmp_path / name, [1], spacing=(12, 10, 10))
    for file in ("imagesTr/torso_001.nii.gz", "labelsTr/torso_001.nii.gz", "dataset.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_generator_still_draws_the_patient_it_always_drew() -> None:
    labels = scan(0).labels.array
    voxels = [int((labels == value).sum()) for value in ORGANS]
    assert voxels == pytest.approx(EXPECTED_VOXELS, rel=0.01)


def test_different_seeds_are_different_people() -> None:
    assert len({digest(scan(seed).labels.array) for seed in SEEDS}) == len(SEEDS)


def test_arrays_are_hounsfield_units_and_labels_on_one_grid() -> None:
    case = scan(0)
    assert case.image.array.dtype == np.int16
    assert case.labels.array.dtype == np.uint8
    assert case.image.array.shape == case.labels.array.shape == (1, 41, 43, 63)
    assert case.image.geometry.difference(case.labels.geometry) is None
    assert case.image.geometry.spacing == pytest.approx(COARSE)
    assert case.labels.labels == ORGANS
    assert case.image.array.min() < -950


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("organ", "low", "high"),
    [
        ("lungs", -850, -650),
        ("heart", 30, 155),
        ("liver", 50, 115),
        ("spleen", 35, 135),
        ("kidneys", 15, 200),
        ("spine", 130, 500),
        ("ribs", 180, 650),
    ],
)
def test_every_organ_is_there_with_its_hounsfield_units(seed: int, organ: str, low: int, high: int) -> None:
    case = scan(seed)
    values = case.image.array[case.labels.array == NUMBER[organ]]
    assert values.size >= 100
    assert low < np.median(values) < high


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_where_they_belong(seed: int) -> None:
    centre = {organ: places(scan(seed), organ).mean(0) for organ in NUMBER}
    z, y, x = 0, 1, 2  # towards head, back and left
    spine = centre["spine"]
    assert centre["liver"][x] < spine[x] - 25
    assert centre["spleen"][x] > spine[x] + 50
    assert centre["heart"][x] > spine[x] + 5
    assert centre["heart"][y] < spine[y] - 30
    assert spine[y] > centre["ribs"][y]
    assert centre["lungs"][z] > centre["liver"][z] + 50 > centre["kidneys"][z]
    kidneys = places(scan(seed), "kidneys")[:, x] - spine[x]
    assert 0.3 < np.mean(kidneys > 0) < 0.7
    assert np.abs(kidneys).min() > 8


@pytest.mark.parametrize(("orientation", "tilt"), [("IPL", 0.0), ("LAS", 9.0), ("PSR", -14.0)])
def test_another_grid_shows_the_same_patient(orientation: str, tilt: float) -> None:
    straight = scan(2).labels
    other = torso(2, spacing=(10, 5, 7), orientation=orientation, oblique_degrees=tilt).labels
    index = np.argwhere(np.ones(other.geometry.shape, bool))
    there = np.rint(straight.geometry.to_index(other.geometry.to_world(index))).astype(int)
    seen = np.all((there >= 0) & (there < straight.geometry.shape), axis=1)
    a = other.array[0][tuple(index[seen].T)]
    b = straight.array[0][tuple(there[seen].T)]
    for organ in ("lungs", "heart", "liver"):
        mine, theirs = a == NUMBER[organ], b == NUMBER[organ]
        assert 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) > 0.88, organ


@pytest.mark.parametrize("orientation", ["SPL", "RAI", "IPL", "ASR"])
def test_a_written_scan_lies_in_the_file_as_asked_and_reads_back(tmp_path: Path, orientation: str) -> None:
    case = torso(1, spacing=(15, 12, 12), orientation=orientation, oblique_degrees=10)
    assert case.image.geometry.orientation == "SPL"
    assert case.image.in_file_order()[1].orientation == orientation
    unimiss.write(case.image, tmp_path / "scan.nii.gz")
    back = unimiss.read(tmp_path / "scan.nii.gz")
    assert back.in_file_order()[1].orientation == orientation
    assert case.image.geometry.difference(back.geometry) is None
    np.testing.assert_array_equal(back.array, case.image.array)


def test_a_data_set_is_described_and_reads_back(tmp_path: Path) -> None:
    description = json.loads(write_dataset(tmp_path, range(3), spacing=(12, 10, 10)).read_text())
    assert description["labels"] == {"0": "background", **{str(k): v for k, v in ORGANS.items()}}
    assert description["numTraining"] == len(description["training"]) == 3
    orientations, tilted = set(), 0
    for seed, case in enumerate(description["training"]):
        image, labels = unimiss.read(tmp_path / case["image"]), unimiss.read(tmp_path / case["label"])
        assert Path(case["image"]).name == f"torso_{seed:03d}.nii.gz"
        assert image.geometry.difference(labels.geometry) is None
        assert set(np.unique(labels.array)) == {0, *ORGANS}
        orientations.add(image.in_file_order()[1].orientation)
        off_axis = image.geometry.matrix[:3, :3] - np.diag(np.diag(image.geometry.matrix[:3, :3]))
        tilted += bool(np.abs(off_axis).max() > 0.01)
    assert len(orientations) == 3
    assert tilted == 1


def film_values(seed: int, organ: str) -> np.ndarray:
    """Film values where the beam crosses an organ, between diaphragm and shoulders and off the edges."""
    points = places(scan(seed), organ)
    points = points[(points[:, 0] > 20) & (points[:, 0] < 110)]
    if organ == "lungs":
        points = points[np.abs(np.abs(points[:, 2]) - 95) < 12]  # clear of heart and chest wall
    elif organ == "spine":
        points = points[np.abs(points[:, 2] - np.median(points[:, 2])) < 10]
    row = np.rint((220 - points[:, 0]) / 380 * 256).astype(int)
    column = np.rint((points[:, 2] + 190) / 380 * 256).astype(int)
    return np.asarray(film(seed).array[0][row, column])


@pytest.mark.parametrize("seed", [0, 3])
def test_a_radiograph_is_bright_over_the_spine_and_dark_over_the_lungs(seed: int) -> None:
    picture = film(seed)
    assert picture.array.dtype == np.uint8
    assert picture.array.shape == (1, 256, 256)
    assert picture.geometry.spacing == pytest.approx((380 / 256, 380 / 256))
    assert np.median(film_values(seed, "spine")) > np.median(film_values(seed, "lungs")) + 60


def test_a_radiograph_shows_the_heart_on_the_pictures_right() -> None:
    heart_level = film(0).array[0, 115:150]
    assert heart_level[:, 145:175].mean() > heart_level[:, 80:110].mean() + 20


def test_radiographs_are_written_by_seed_with_the_same_bytes(tmp_path: Path) -> None:
    (path,) = write_radiographs(tmp_path, [3])
    assert path.name == "radiograph_003.png"
    np.testing.assert_array_equal(unimiss.read(path).array, film(3).array)


@pytest.mark.parametrize("orientation", ["SPX", "SP", "SSL", "SIL", ""])
def test_an_orientation_that_is_none_is_refused(orientation: str) -> None:
    with pytest.raises(InputError, match="orientation"):
        torso(0, orientation=orientation)


def test_values_that_make_no_scan_are_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        torso(-1)
    with pytest.raises(InputError, match="oblique_degrees"):
        torso(0, oblique_degrees=60)
    with pytest.raises(InputError, match="spacing"):
        torso(0, spacing=(0, 1, 1))
    with pytest.raises(InputError, match="rows"):
        radiograph(0, shape=(4, 4))
