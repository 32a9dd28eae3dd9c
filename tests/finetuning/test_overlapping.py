"""Classes that overlap, from the data set to the figures, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.data.augment import Augmentation, augment
from unimiss.data.datasets import read_dataset, read_mask
from unimiss.errors import InputError
from unimiss.finetuning.segmentation import BinaryDiceLoss
from unimiss.inference import Predictor
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Checkpoint, Description

TINY = (
    "--init none --precision 32-true --seed 1 --set batch_size=1 --set validations=1 --set holdout=0".split()
)
CHEST = ("clavicles", "heart", "lungs")


def chest(number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A radiograph of 48 x 40 pixels; the heart and the clavicles lie over the lungs."""
    y, x = np.mgrid[:48, :40]
    masks = {
        "clavicles": abs(y - 12 - number) < 3,
        "heart": (y - 30) ** 2 + (x - 22) ** 2 < 80,
        "lungs": (abs(x - 20) > 3) & (abs(y - 24) < 18),
    }
    grey = 200 - 90 * masks["lungs"] + 50 * masks["heart"] + 30 * masks["clavicles"]
    noise = np.random.default_rng(number).integers(0, 9, grey.shape)
    return (grey + noise).astype(np.uint8), masks


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    flat = engine.Geometry.from_spacing((48, 40), units="pixel")
    for number in range(3):
        grey, masks = chest(number)
        engine.write(engine.Image(grey[None], flat), folder / "images" / f"p{number}.png")
        for name, mask in masks.items():
            picture = engine.Image(mask[None] * np.uint8(255), flat)
            engine.write(picture, folder / "masks" / name / f"p{number}.png")
    return folder


@pytest.fixture(scope="module")
def film_run(unimiss, films, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "films"
    done = unimiss("finetune", films, "--steps", 2, "--run", folder, "--set", "patch=[32,32]", *TINY)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Volumes that are stored flipped and oblique, with a channel for each class."""
    folder = tmp_path_factory.mktemp("scans")
    turn = np.deg2rad(20)
    affine = np.diag([-2.0, 2.0, -4.0, 1.0])
    affine[:2, :2] = affine[:2, :2] @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, 3] = 40, -30, 90
    for number in range(3):
        values = np.random.default_rng(number).normal(size=(24, 20, 8)).astype(np.float32)
        whole, core = np.zeros((2, *values.shape), np.uint8)
        whole[4:16, 3:12, 1:6], core[6:10, 5 : 9 + number, 2:5] = 1, 1
        values += 5 * whole + 5 * core
        for name, array in (("images", values), ("masks", np.stack([whole, core], axis=-1))):
            (folder / name).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / name / f"s{number}.nii.gz")
    (folder / "masks" / "labels.json").write_text('{"0": "background", "1": "whole", "2": "core"}')
    return folder


@pytest.fixture(scope="module")
def scan_run(unimiss, scans, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "scans"
    options = ["--set", "patch=[8,16,16]", "--set", "spacing=[4,2,2]", *TINY]
    done = unimiss("finetune", scans, "--steps", 2, "--run", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_class_has_a_channel_and_a_figure_and_the_background_none(film_run):
    saved = checkpoint.load(film_run)
    assert saved.description.overlapping
    assert saved.description.labels == {0: "background", 1: "clavicles", 2: "heart", 3: "lungs"}
    assert saved.network()(torch.zeros(1, 3, 32, 32)).shape[1] == 3
    last = engine.runs.Run(film_run).metrics()[-1]
    assert "dice" in last
    assert not {name for name in last if name.startswith("dice_")} - {f"dice_{name}" for name in CHEST}


def test_pictures_get_a_file_for_each_class_that_are_read_and_scored_as_such(
    unimiss, films, film_run, tmp_path
):
    out = tmp_path / "data" / "masks"
    done = unimiss("predict", film_run, films / "images", "--output", out)
    assert done.returncode == 0, done.stderr
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        f"{name}/p{number}.png" for name in CHEST for number in range(3)
    ]
    (tmp_path / "data" / "images").symlink_to(films / "images")
    dataset = read_dataset(tmp_path / "data")
    case = dataset.cases[1]
    mask = Predictor(film_run).predict(engine.read(case.image))
    assert mask.array.shape == (3, 48, 40)
    np.testing.assert_array_equal(read_mask(case, dataset).array, mask.array)
    done = unimiss("evaluate", out, films / "masks", "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert list(scores["labels"].values()) == list(CHEST)
    assert scores["problems"] == []
    truth = chest(1)[1]["heart"]
    heart = 2 * (mask.array[1] & truth).sum() / (mask.array[1].sum() + truth.sum())
    assert scores["cases"][1]["classes"]["heart"]["dice"] == pytest.approx(heart)
    assert (tmp_path / "report" / "report.html").read_text().count("<img") == 3


def test_volumes_get_one_file_whose_channels_lie_on_the_source(unimiss, scans, scan_run, tmp_path):
    done = unimiss("predict", scan_run, scans / "images", "--output", tmp_path / "out", "--probabilities")
    assert done.returncode == 0, done.stderr
    source = scans / "images" / "s1.nii.gz"
    image, mask = nibabel.load(source), nibabel.load(tmp_path / "out" / "s1.nii.gz")
    assert mask.shape == (*image.shape, 2)
    np.testing.assert_array_equal(mask.affine, image.affine)
    scores = nibabel.load(tmp_path / "out" / "s1_probabilities.nii.gz").get_fdata()
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, scores >= 0.5)
    assert not np.allclose(scores.sum(axis=-1), 1)  # each class is a decision of its own
    report = engine.evaluation.evaluate_folder(tmp_path / "out", scans / "masks")
    assert report.labels == {1: "whole", 2: "core"}
    assert [len(case.scores) for case in report.cases] == [2, 2, 2]


def test_a_class_is_found_where_it_is_on_a_flipped_and_oblique_grid(scans, tmp_path):
    """A network that knows nothing but the voxel's value."""
    description = Description(
        kind="segmentation",
        network="tiny",
        native={3: (8, 16, 16)},
        labels={0: "background", 1: "whole", 2: "core"},
        overlapping=True,
        preprocessing={"spacing": (4, 2, 2), "intensity": {"scheme": "percentile", "low": 0, "high": 100}},
        objective="segmentation",
        step=0,
    )
    network = description.make_network()
    Checkpoint(description, {f"network.{n}": t for n, t in network.state_dict().items()}).save(tmp_path / "m")
    predictor = Predictor(tmp_path / "m")
    image = engine.read(scans / "images" / "s2.nii.gz")

    class Bright(torch.nn.Module):
        def forward(self, x):
            low, high = float(image.array.min()), float(image.array.max())
            return torch.cat([x - (cut - low) / (high - low) for cut in (3.0, 7.5)], dim=1)

    (member,) = predictor._members
    member._network = Bright()
    mask = predictor.predict(image)
    for plane, cut in zip(mask.array, (3.0, 7.5), strict=True):
        np.testing.assert_array_equal(plane, image.array[0] >= cut)
    engine.write(mask, tmp_path / "mask.nii.gz")
    stored = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    values = nibabel.load(scans / "images" / "s2.nii.gz").get_fdata()
    np.testing.assert_array_equal(stored[..., 1], values >= 7.5)


def test_the_loss_is_soft_dice_over_the_batch_and_a_cross_entropy_of_each_class_by_itself():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=generator)
    targets = (torch.rand(2, 3, 4, 5, generator=generator) < 0.5).float()
    p = 1 / (1 + np.exp(-scores.double().numpy()))
    t = targets.numpy()
    axes = (0, 2, 3)
    dice = 1 - (2 * (p * t).sum(axes) + 1e-5) / (p.sum(axes) + t.sum(axes) + 1e-5)
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert float(BinaryDiceLoss()(scores, targets)) == pytest.approx(dice.mean() + entropy.mean(), rel=1e-5)
    sure = torch.where(targets > 0, 20.0, -20.0)
    assert float(BinaryDiceLoss()(sure, targets)) < 1e-3  # also where classes share a voxel
    smooth = 0.9 * t + 0.05
    smoothed = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p))
    found = float(BinaryDiceLoss(0.1)(scores, targets))
    assert found == pytest.approx(dice.mean() + smoothed.mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(24, 20), (6, 24, 20)])
def test_all_channels_of_a_mask_move_with_the_image(shape):
    image = torch.zeros(2, 1, *shape)
    image[..., 6:18, 5:15] = 1
    masks = torch.cat([image, image, 1 - image], dim=1)
    generator = torch.Generator().manual_seed(3)
    moved, labels = augment(
        image.clone(), masks.clone(), (1.0,) * len(shape), Augmentation(mirror=True), generator
    )
    assert set(labels.unique().tolist()) == {0, 1}
    assert torch.equal(labels[:, 0], labels[:, 1])
    assert torch.equal(labels[:, 2], 1 - labels[:, 0])
    for values, mask in zip(moved[:, 0], labels[:, 0] > 0, strict=True):
        assert values[mask].mean() > values[~mask].mean() + 0.3


def test_classes_that_are_left_are_counted_from_one(unimiss, films, tmp_path):
    options = ["--steps", 1, "--set", "patch=[32,32]", "--set", "ignore=[clavicles]", *TINY]
    done = unimiss("finetune", films, "--run", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "run").description.labels == {0: "background", 1: "heart", 2: "lungs"}
    predicted = tmp_path / "out"
    image = films / "images" / "p0.png"
    done = unimiss("predict", tmp_path / "run", image, "--output", predicted, "--format", "nrrd")
    assert done.returncode == 0, done.stderr
    assert engine.read(predicted / "p0.nrrd").array.shape == (2, 48, 40)
    report = engine.evaluation.evaluate_folder(predicted / "p0.nrrd", films / "masks")
    assert list(report.labels.values()) == ["heart", "lungs"]


def test_a_class_that_is_no_name_of_a_folder_is_refused_for_pictures(film_run, films, tmp_path):
    from unimiss.inference.folder import predict_files

    predictor = Predictor(film_run)
    predictor.labels = {0: "background", 1: "../heart", 2: "lungs", 3: "clavicles"}
    with pytest.raises(InputError, match=r"'\.\./heart' cannot be; use --format nii\.gz"):
        predict_files(
            predictor, [films / "images"], tmp_path / "out", progress=lambda *_: None, warn=lambda _: None
        )
    assert not list(tmp_path.rglob("*.png"))
