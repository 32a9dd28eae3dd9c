"""Radiographs of people who do not exist, and of real CT where there is any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

import unimiss as engine
from unimiss.cli import main
from unimiss.data.preprocessing import PAPER_CT
from unimiss.drr import PARALLEL, VIEWS, Detector, attenuation, paper_radiograph, project, radiograph
from unimiss.geometry import Geometry
from unimiss.samples import torso
from unimiss.samples.scan import Torso

LUNGS, HEART, SPINE = 1, 2, 6
REAL = (
    "ricord_ct/*.nii.gz",
    "totalsegmentator/example_ct.nii.gz",
    "deeplesion_ct/000001_02_01_008-023_dep0.nii.gz",
)


@pytest.fixture(scope="module")
def scan() -> Torso:
    return torso(0)


def middle(labels, value, view):
    """Row and column of the middle of a part's shadow."""
    mask = torch.from_numpy((labels.array == value).astype(np.float32))[None]
    lines = project(mask, labels.geometry, view)[0, 0].numpy()
    return ndimage.center_of_mass(lines)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.parametrize(("orientation", "degrees"), [("SPL", 0.0), ("LPS", 0.0), ("IAR", 12.0)])
def test_every_view_lies_as_it_is_read(tmp_path, orientation, degrees):
    engine.write(
        torso(0, spacing=(8.0, 6.0, 6.0), orientation=orientation, oblique_degrees=degrees).labels,
        tmp_path / "m.mha",
    )
    labels = engine.read(tmp_path / "m.mha")
    centre = {view: {part: middle(labels, part, view) for part in (LUNGS, HEART, SPINE)} for view in VIEWS}
    for view in ("frontal", "lateral"):
        assert centre[view][LUNGS][0] < centre[view][HEART][0], "the head is up"
    for view in ("frontal", "axial"):
        assert centre[view][HEART][1] > centre[view][SPINE][1] + 2, "the patient's left is on the right"
    assert centre["lateral"][HEART][1] < centre["lateral"][SPINE][1] - 5, "the front is on the left"
    assert centre["axial"][HEART][0] < centre["axial"][SPINE][0] - 5, "the front is up"


def test_hounsfield_units_become_attenuation():
    found = attenuation(torch.tensor([-3024.0, -1000.0, 0.0, 1000.0, float("nan")]))
    torch.testing.assert_close(found, torch.tensor([0, 0, 0.0193, 0.0386, 0]))


def test_it_resembles_the_generated_radiograph(scan):
    film = engine.samples.radiograph(0)  # 380 x 380 mm, heights from 220 down to -160
    picture = radiograph(scan.image, "frontal", PARALLEL, crop=False)  # around height 0
    rows = (220 - (np.arange(256) + 0.5) * film.geometry.spacing[0]) / -picture.geometry.spacing[0]
    columns = (np.arange(256) - 127.5) * film.geometry.spacing[1] / picture.geometry.spacing[1]
    half = (np.array(picture.geometry.shape) - 1) / 2
    places = np.stack(np.meshgrid(rows + half[0], columns + half[1], indexing="ij"))
    seen = (places[0] > 0) & (places[0] < 2 * half[0])
    ours = ndimage.map_coordinates(picture.array[0], places, order=1)
    assert correlation(ours[seen], film.array[0][seen]) > 0.9


def test_bones_are_bright_and_lungs_dark(scan):
    picture = radiograph(scan.image, "frontal", crop=False).array[0]
    inside = {part: project(torch.from_numpy((scan.labels.array == part).astype(np.float32))[None], scan.labels.geometry) for part in (LUNGS, SPINE)}  # fmt: skip
    lungs, spine = (inside[part][0, 0].numpy() for part in (LUNGS, SPINE))
    dark = picture[(lungs > 80) & (spine == 0)].mean()
    assert picture[[0, -1]].max() < dark < 0.5 < picture[spine > 20].mean() - 0.2


def test_an_oblique_scan_gives_the_same_picture(scan):
    tilted, detector = torso(0, oblique_degrees=10).image, Detector((60, 60), 4.0)
    pictures = [
        project(attenuation(torch.from_numpy(image.array)[None].float()), image.geometry, detector=detector)
        for image in (scan.image, tilted)
    ]
    assert correlation(*pictures) > 0.98


def test_size_and_spacing_belong_together(scan):
    whole, small = radiograph(scan.image, crop=False), radiograph(scan.image, crop=False, short_side=50)
    assert min(small.geometry.shape) == 50
    extents = [np.multiply(image.geometry.shape, image.geometry.spacing) for image in (whole, small)]
    np.testing.assert_allclose(*extents, rtol=1e-6)
    np.testing.assert_allclose(extents[0], (330, 380), rtol=0.1)  # the near side's shadow is larger
    assert whole.array.dtype == np.float32
    assert whole.array.min() == 0
    assert whole.array.max() == 1


def test_a_black_border_is_left_out(scan):
    wide = np.pad(scan.image.array, ((0, 0), (9, 9), (0, 0), (30, 30)), constant_values=-1024)
    padded = engine.Image(wide, scan.image.geometry.cropped((-9, 0, -30), wide.shape[1:]))
    kept, cropped = radiograph(padded, crop=False), radiograph(padded)
    rows, columns = np.array(kept.geometry.shape) - cropped.geometry.shape
    assert rows > 18
    assert columns > 60
    for edge in (cropped.array[0, 0], cropped.array[0, -1], cropped.array[0, :, 0], cropped.array[0, :, -1]):
        assert edge.max() > 0


def test_metal_does_not_darken_the_picture(scan):
    nail = scan.image.array.copy()
    nail[:, 20:22, :, 60:62] = 20000
    plain, pinned = (
        radiograph(scan.image.with_array(array), crop=False).array for array in (scan.image.array, nail)
    )
    assert np.median(np.abs(plain - pinned)) < 0.01


def test_a_uniform_block_is_white():
    block = np.zeros((1, 8, 8, 8), np.float32)
    block[0, 0] = -1000
    picture = radiograph(engine.Image(block, Geometry.from_spacing((8, 8, 8))), "frontal", PARALLEL)
    assert picture.geometry.shape == (7, 8)
    assert (picture.array == 1).all()


@pytest.mark.parametrize("view", VIEWS)
def test_pictures_for_pretraining(scan, view):
    geometry = scan.image.geometry.cropped((20, 10, 20), (24, 40, 50))
    parts = [scan.image.array[:, z : z + 24, 10:50, 20:70] for z in (20, 25)]
    volumes = torch.from_numpy(np.stack([PAPER_CT.apply(part) for part in parts]))
    pictures = paper_radiograph(volumes, geometry, view, short_side=96)
    assert pictures.shape[:2] == (2, 1)
    assert min(pictures.shape[2:]) == 96
    torch.testing.assert_close(pictures.amin((1, 2, 3)), torch.zeros(2))
    torch.testing.assert_close(pictures.amax((1, 2, 3)), torch.ones(2))
    lines = project(
        attenuation(torch.from_numpy(parts[0].astype(np.float32))[None]),
        geometry,
        view,
        detector=Detector.covering(geometry, VIEWS[view], short_side=96),
    )
    assert correlation(lines, pictures[:1]) > 0.9999
    assert not paper_radiograph(torch.full_like(volumes, -1), geometry, view, short_side=20).any()


@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".mha", ".nrrd"])
def test_the_command_writes_what_was_asked_for(tmp_path, scan, suffix, capsys):
    engine.write(scan.image, tmp_path / "scan.nii.gz")
    output = tmp_path / f"picture{suffix}"
    assert (
        run("drr", tmp_path / "scan.nii.gz", "--output", output, "--view", "lateral", "--short-side", 64) == 0
    )
    assert "64" in capsys.readouterr().out
    picture = engine.read(output)
    assert min(picture.array.shape[1:]) == 64
    if suffix == ".png":
        assert picture.array.dtype == np.uint8
        assert picture.array.max() == 255
    else:
        expected = radiograph(scan.image, "lateral", short_side=64)
        assert expected.geometry.difference(picture.geometry) is None
        np.testing.assert_allclose(picture.array.reshape(expected.array.shape), expected.array, atol=1e-6)


@pytest.mark.parametrize(
    ("volume", "options", "reason"),
    [
        ("flat.png", "--output o.png", "flat"),
        ("mr.nii.gz", "--output o.png", "Hounsfield"),
        ("air.nii.gz", "--output o.png", "air"),
        ("missing.nii.gz", "--output o.png", "no such file"),
        ("ct.nii.gz", "--output o.jpg", "cannot write"),
        ("ct.nii.gz", "--output o", "cannot write"),
        ("ct.nii.gz", "--output ct.nii.gz", "another file"),
        ("ct.nii.gz", "--output o.png --view behind", "frontal, lateral, axial"),
        ("ct.nii.gz", "--output o.png --beam fan", "cone, parallel"),
        ("ct.nii.gz", "--output o.png --step 0", "step"),
        ("ct.nii.gz", "--output o.png --short-side 0", "short side"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(tmp_path, monkeypatch, capsys, volume, options, reason):
    monkeypatch.chdir(tmp_path)
    ramp = np.arange(512, dtype=np.int16).reshape(1, 8, 8, 8)
    geometry = Geometry.from_spacing((8, 8, 8))
    for name, array in {"mr": ramp, "ct": 4 * ramp - 1000, "air": 0 * ramp - 1000}.items():
        engine.write(engine.Image(array, geometry), Path(f"{name}.nii.gz"))
    engine.write(engine.Image(np.zeros((1, 8, 8), np.uint8), Geometry.from_spacing((8, 8))), Path("flat.png"))
    assert run("drr", volume, *options.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("unimiss: ")
    assert reason in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("o*"))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("pattern", REAL)
def test_real_ct(real_data, pattern, view):
    found = sorted(real_data.glob(pattern))
    if not found:
        pytest.skip(f"{pattern} is not among the real images")
    picture = radiograph(engine.read(found[0]), view, step=2, short_side=224)
    assert min(picture.array.shape[1:]) == 224
    assert np.std(picture.array) > 0.15


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0
