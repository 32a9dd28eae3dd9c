"""Voxels that nobody labelled, nnU-Net's "ignore": from the data set to the loss and the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import unimiss as engine
from unimiss.data.augment import Augmentation, augment
from unimiss.data.cache import Cache
from unimiss.data.cases import Case
from unimiss.data.datasets import UNKNOWN, Dataset, open_dataset, read_mask
from unimiss.data.patches import class_points, draw_start, known_points
from unimiss.errors import InputError
from unimiss.evaluation import evaluate_folder
from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.prepare import prepare_cases
from unimiss.finetuning.segmentation import Segmentation
from unimiss.finetuning.task import Material
from unimiss.models import checkpoint
from unimiss.models.checkpoint import Description

TINY = (
    "--init none --precision 32-true --seed 1 --set batch_size=1 --set validations=1 --set holdout=0".split()
)
EXCLUSIVE = {"background": 0, "rim": 1, "core": 2, "ignore": 3}
REGIONS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
CPU = torch.device("cpu")


def write_set(folder: Path, labels: dict, shape: tuple[int, ...] = (48, 40), cases: int = 3) -> Path:
    """Write bright discs or balls in nnU-Net's layout; a wrong one lies where nobody labelled, a third of all."""
    suffix = ".png" if len(shape) == 2 else ".nii.gz"
    grid = engine.Geometry.from_spacing(shape, units="pixel" if len(shape) == 2 else "mm")
    *_, y, x = np.indices(shape)
    for number in range(cases):
        away = (y - 24) ** 2 + (x - 12 - number) ** 2
        mask = (away < 90).astype(np.uint8) + (away < 30)
        grey = np.array([10, 110, 210], np.uint8)[mask]
        mask[..., 27:] = 3
        grey[..., 10:30, 30:36] = 210
        engine.write(engine.Image(grey[None], grid), folder / "imagesTr" / f"p{number}_0000{suffix}")
        engine.write(engine.Image(mask[None], grid), folder / "labelsTr" / f"p{number}{suffix}")
    described = {
        "labels": labels,
        "channel_names": {"0": "grey"},
        "file_ending": suffix,
        "numTraining": cases,
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def opened(path: Path, labels=None, ignore=(), accept=(), warn=pytest.fail) -> Dataset:
    return open_dataset(
        path, labels=labels or {}, ignore=ignore, accept=accept, report=lambda share: None, warn=warn
    )


def made(dataset: Dataset, folder: Path, partial: bool = True, **settings: object) -> Segmentation:
    """Prepare all cases, and the task that validates them."""
    config = FinetuneConfig.build(
        {"dataset": folder, "init": None, "patch": (48, 40), "elastic": 0.0, "shift": 0.0, **settings}
    )
    cache = Cache(folder / "cache")
    prepared, storing = prepare_cases(dataset.cases, config, dataset, cache, lambda share: None, pytest.fail)
    description = Description(
        kind="segmentation",
        network="tiny",
        native={2: (48, 40)},
        channels={2: 3},
        labels=dataset.labels,
        overlapping=dataset.overlapping,
        preprocessing=storing,
        objective="segmentation",
        step=0,
    )
    config = config.model_copy(update={"validation_cases": 8})
    return Segmentation(config, Material(prepared, prepared, description, (1.0, 1.0), partial=partial), cache)


class ByBrightness(nn.Module):
    """Finds the rim and the core by their grey values, which are 0, 1/2 and 1 once scaled."""

    def __init__(self, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images[:, :1]
        if self.overlapping:
            return torch.cat([grey - 0.25, grey - 0.75], dim=1)
        return -torch.cat([(grey - level).abs() for level in (0, 0.5, 1)], dim=1)


@pytest.mark.parametrize(("labels", "classes"), [(EXCLUSIVE, ["rim", "core"]), (REGIONS, ["whole", "core"])])
def test_ignore_is_no_class_and_its_voxels_are_marked(tmp_path, labels, classes):
    dataset = opened(write_set(tmp_path, labels))
    assert list(dataset.labels.values()) == ["background", *classes]
    assert dataset.unknown == (3,)
    mask = read_mask(dataset.cases[0], dataset).array
    assert (mask[..., 27:] == (UNKNOWN if dataset.overlapping else 3)).all()
    assert set(np.unique(mask[..., :27])) == ({0, 1} if dataset.overlapping else {0, 1, 2})


def test_any_class_can_be_called_ignore_and_ignore_can_be_background(tmp_path):
    folder = write_set(tmp_path, EXCLUSIVE)
    assert opened(folder, ignore=["ignore"]).unknown == ()
    assert opened(folder, {"ignore": "air"}).labels[3] == "air"
    joined = opened(folder, {"rim": "ignore"})
    assert joined.labels == {0: "background", 2: "core"}
    assert joined.unknown == (1, 3)
    mask = read_mask(joined.cases[0], joined).array
    assert set(np.unique(mask)) == {0, 1, 2}
    (folder / "dataset.json").unlink()
    assert opened(folder, {"3": "ignore"}).unknown == (3,)


@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_the_loss_is_that_of_the_labelled_voxels_alone(tmp_path, labels, smoothing):
    task = made(opened(write_set(tmp_path, labels)), tmp_path, label_smoothing=smoothing)
    plain = made(opened(tmp_path), tmp_path, partial=False, label_smoothing=smoothing)
    channels = 2 if task.overlapping else 3
    generator = torch.Generator().manual_seed(0)
    sizes = [(48 // n, 40 // n) for n in (1, 2, 4, 8)]
    levels = [torch.randn(2, channels, *size, generator=generator, requires_grad=True) for size in sizes]
    shape, values = ((2, 2, 48, 40), 2) if task.overlapping else ((2, 1, 48, 40), 3)
    target = torch.randint(0, values, shape, generator=generator).float()
    torch.testing.assert_close(task.loss(levels, target), plain.loss(levels, target), atol=1e-6, rtol=0)
    halved = target.clone()
    halved[..., 16:] = UNKNOWN
    left = plain.loss([level[..., : level.shape[-1] * 2 // 5] for level in levels], target[..., :16])
    found = task.loss(levels, halved)
    torch.testing.assert_close(found, left, atol=1e-6, rtol=0)
    found.backward()
    for level in levels:
        known = level.shape[-1] * 2 // 5
        assert (level.grad[..., known:] == 0).all()
        assert (level.grad[..., :known] != 0).all()


def test_a_batch_without_any_label_costs_nothing_and_breaks_nothing(tmp_path):
    task = made(opened(write_set(tmp_path, EXCLUSIVE)), tmp_path)
    scores = torch.randn(1, 3, 48, 40, requires_grad=True)
    loss = task.loss([scores], torch.full((1, 1, 48, 40), float(UNKNOWN)))
    loss.backward()
    assert loss.item() == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("labels", [EXCLUSIVE, REGIONS])
def test_validation_does_not_count_what_nobody_labelled(tmp_path, labels):
    dataset = opened(write_set(tmp_path, labels))
    found = {}
    for partial in (True, False):
        task = made(dataset, tmp_path, partial)
        network = ByBrightness(dataset.overlapping)
        found[partial] = task.validate(network, CPU, "32-true", lambda share: None)
    assert found[True]["dice"] == found[True]["dice_core"] == 1
    assert found[False]["dice_core"] < 0.8  # with the wrong disc


def test_what_is_open_is_prepared_otherwise_than_background(tmp_path):
    folder = write_set(tmp_path, EXCLUSIVE)
    task, other = made(opened(folder), folder), made(opened(folder, ignore=["ignore"]), folder, False)
    keys = [{case.key for case in one.material.training} for one in (task, other)]
    assert not keys[0] & keys[1]
    rng = np.random.default_rng(0)
    for case in task.material.training:
        _, target = task.sample(case, rng)
        assert set(np.unique(target)) == {0, 1, 2, UNKNOWN}
    assert set(np.unique(other.sample(other.material.training[0], rng)[1])) == {0, 1, 2}


def test_no_patch_is_cut_where_nobody_labelled_and_no_class_is_looked_for_there():
    labels = np.full((1, 16, 60, 60), UNKNOWN, np.uint8)
    labels[0, 8, 10:12, 10:30] = 0
    labels[0, 8, 50, 50] = 1
    points, known = class_points(labels, 3), known_points(labels)
    assert points.tolist() == [[1, 8, 50, 50]]
    assert len(known) == 41
    rng = np.random.default_rng(0)
    for foreground in (0.0, 0.5):
        for _ in range(50):
            start = draw_start((16, 60, 60), (4, 8, 8), points, foreground, rng, known)
            patch = labels[(0, *(slice(s, s + n) for s, n in zip(start, (4, 8, 8), strict=True)))]
            assert (patch != UNKNOWN).any()
    empty = class_points(np.where(labels == 1, 0, labels), 3)  # no class, so places anywhere
    for _ in range(50):
        start = draw_start((16, 60, 60), (4, 8, 8), empty, 1.0, rng, known)
        patch = labels[(0, *(slice(s, s + n) for s, n in zip(start, (4, 8, 8), strict=True)))]
        assert (patch != UNKNOWN).any()


def test_changes_of_samples_mix_no_classes_with_what_is_open():
    image, target = torch.rand(2, 1, 12, 24, 20), torch.zeros(2, 1, 12, 24, 20)
    target[..., 5:12], target[..., 12:] = 2, UNKNOWN
    how = Augmentation(mirror=True, elastic=1.0, low_resolution=1.0)
    _, moved = augment(image, target, (3.0, 1.0, 1.0), how, torch.Generator().manual_seed(0))
    assert set(moved.unique().tolist()) == {0, 2, UNKNOWN}


def test_a_case_without_any_label_is_an_empty_mask_and_left_out_where_these_are_accepted(tmp_path):
    folder = write_set(tmp_path, EXCLUSIVE)
    mask = engine.read(folder / "labelsTr" / "p1.png")
    engine.write(mask.with_array(np.full_like(mask.array, 3)), folder / "labelsTr" / "p1.png")
    with pytest.raises(InputError, match=r"p1\.png is empty: it labels no voxel"):
        opened(folder)
    said: list[str] = []
    dataset = opened(folder, accept=["empty masks"], warn=said.append)
    config = FinetuneConfig.build(
        {"dataset": folder, "init": None, "patch": (48, 40), "elastic": 0.0, "shift": 0.0}
    )
    prepared, _ = prepare_cases(
        dataset.cases, config, dataset, Cache(folder / "cache"), lambda share: None, said.append
    )
    assert [case.case.image.name for case in prepared] == ["p0_0000.png", "p2_0000.png"]
    assert "p1.png labels nothing, not even background" in said[-1]


@pytest.mark.parametrize(
    ("labels", "shape", "patch"),
    [
        (EXCLUSIVE, (48, 40), "patch=[32,32]"),
        (REGIONS, (48, 40), "patch=[32,32]"),
        (EXCLUSIVE, (10, 48, 40), "patch=[8,16,16]"),
    ],
)
def test_scribbles_train_a_model_that_knows_no_class_ignore(unimiss, tmp_path, labels, shape, patch):
    folder = write_set(tmp_path / "data", labels, shape)
    for path in sorted((folder / "labelsTr").iterdir()):
        mask = engine.read(path)
        sparse = np.full_like(mask.array, 3)
        sparse[..., 22:25, :26] = mask.array[..., 22:25, :26]
        engine.write(mask.with_array(sparse), path)
    options = ["--steps", 3, "--run", tmp_path / "run", "--set", patch, *TINY]
    done = unimiss("finetune", folder, *options)
    assert done.returncode == 0, done.stderr
    names = [name for name in labels if name != "ignore"]
    assert list(checkpoint.load(tmp_path / "run").description.labels.values()) == names
    metrics = engine.runs.Run(tmp_path / "run").metrics()
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in metrics if "loss" in row)
    assert "dice" in metrics[-1]
    image, out = next((folder / "imagesTr").glob("p0*")), tmp_path / "out"
    done = unimiss("predict", tmp_path / "run", image, "--output", out, "--format", "nrrd")
    assert done.returncode == 0, done.stderr
    mask, reference = next(out.glob("*.nrrd")), next((folder / "labelsTr").glob("p0.*"))
    assert set(np.unique(engine.read(mask).array)) <= {0, 1, 2}
    done = unimiss("evaluate", mask, reference, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["labels"].values()) == names[1:]
    assert scores["problems"] == []


@pytest.mark.parametrize("named", [True, False])
def test_evaluation_leaves_out_what_the_reference_does_not_label(unimiss, tmp_path, named):
    folder = write_set(tmp_path / "data", EXCLUSIVE)
    for path in sorted((folder / "labelsTr").iterdir()):
        mask = engine.read(path)
        found = np.where(mask.array == 3, 2, mask.array)
        engine.write(mask.with_array(found), tmp_path / "found" / path.name)
    if named:
        (tmp_path / "found" / "labels.json").write_text('{"1": "rim", "2": "core"}')
    report = evaluate_folder(tmp_path / "found", folder / "labelsTr")
    assert report.labels == {1: "rim", 2: "core"}
    assert report.mean().dice == report.mean().surface_dice == 1
    (folder / "dataset.json").write_text(json.dumps({"labels": {"rim": 1, "core": 2}}))
    assert evaluate_folder(tmp_path / "found", folder / "labelsTr").by_class()[2].dice < 0.5
    (folder / "dataset.json").write_text(json.dumps({"labels": EXCLUSIVE}))
    done = unimiss("evaluate", tmp_path / "found", folder / "labelsTr", "--report", tmp_path / "page")
    assert done.returncode == 0, done.stderr


def test_info_says_which_voxels_are_left_open(unimiss, tmp_path):
    done = unimiss("info", write_set(tmp_path, EXCLUSIVE))
    assert "where masks hold 3" in done.stdout
    assert "3 ignore" not in done.stdout


def test_a_mask_may_mark_what_is_open_by_a_value_beyond_a_byte(tmp_path):
    grid = engine.Geometry.from_spacing((2, 4, 4))
    path = tmp_path / "m.nii.gz"
    values = np.zeros((1, 2, 4, 4), np.uint16)
    values[..., 0], values[..., 1] = 1, 4000
    engine.write(engine.Image(values, grid), path)
    dataset = Dataset("d", "segmentation", (), {0: "background", 1: "a"}, unknown=(4000,))
    np.testing.assert_array_equal(read_mask(Case((path,), (path,)), dataset).array, values)
