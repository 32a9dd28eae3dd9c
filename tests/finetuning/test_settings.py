"""Settings of a fine-tuning: its length and end, the learning rate, frozen parts, given intensities."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.data.cache import Cache
from unimiss.data.cases import Case
from unimiss.data.datasets import Dataset
from unimiss.data.patches import class_points, draw_start
from unimiss.data.preprocessing import Intensity
from unimiss.devices import make_fabric
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.finetuning.classification import Classification
from unimiss.finetuning.loop import Finetuning, learning_rate
from unimiss.finetuning.prepare import fit_intensity, prepare_cases
from unimiss.finetuning.segmentation import Segmentation
from unimiss.finetuning.train import next_validation
from unimiss.models import SegmentationNetwork, checkpoint
from unimiss.runs import Run, State


def config(**settings: object) -> FinetuneConfig:
    resolved = {
        "lr": 1e-3,
        "weight_decay": 0.01,
        "average": 0.9,
        "batch_size": 4,
        "patch": (32, 32),
        "elastic": 0.0,
        "shift": 0.0,
    }
    return FinetuneConfig.build({"dataset": "set", **resolved, **settings})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 3, "epochs": 2}, "steps = 3 and epochs = 2 both say how long"),
        ({"scaling": (2, 1)}, "scaling: the smaller value comes first"),
        ({"crop": (0.5, 1.5)}, "crop: a share of the area is at most 1"),
        (
            {"intensity": {"scheme": "hounsfield", "low": 0, "high": 1}},
            "the scheme of given values is 'fixed'",
        ),
        ({"intensity": {"scheme": "fixed", "low": 0, "high": 1, "std": 0}}, "'std' above 0"),
        ({"intensity": {"scheme": "percentile", "low": 1, "high": 101}}, "percentiles go from 0 to 100"),
        ({"epochs": float("inf")}, "epochs: input should be a finite number, found inf"),
        ({"scaling": (float("inf"), float("inf"))}, r"scaling\[0\]: input should be a finite number"),
        ({"lr": float("inf")}, "lr: input should be a finite number"),
        ({"lr": 0}, "lr: input should be greater than 0, found 0"),
        ({"batch_size": 0}, "batch_size: input should be greater than 0"),
        ({"patch": [8, 8]}, r"patch\[\d\]: input should be greater than or equal to 16, found 8"),
        ({"task": "classification", "crop": [0.5]}, r"crop\[1\] is missing"),
        ({"intensity": {"scheme": "fixed", "high": 1}}, "intensity.low is missing"),
        ({"patience": 4, "validations": 4}, "patience = 4 is never at an end with validations = 4"),
        ({"layer_decay": 0, "init": None}, "layer_decay = 0 freezes the encoder"),
        ({"crop": (0.5, 1)}, "crop is for classification, and the task is segmentation"),
        ({"balance": False}, "balance is for classification"),
        ({"task": "classification", "spacing": (1, 1, 1)}, "spacing is for segmentation"),
        ({"task": "classification", "foreground": 0.5}, "foreground is for segmentation"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        config(**settings)


@pytest.mark.parametrize("schedule", ["poly", "constant", "cosine"])
def test_the_rate_rises_to_its_peak_and_goes_on_as_the_schedule_says(schedule):
    settings = config(schedule=schedule, warmup=0.1)
    rising = [learning_rate(settings, share) for share in np.linspace(0, 0.099, 8)]
    later = [learning_rate(settings, share) for share in np.linspace(0.1, 1, 8)]
    assert all(one < other for one, other in pairwise(rising))
    assert later[0] == pytest.approx(1e-3 * (0.9**0.9 if schedule == "poly" else 1))
    assert all(one == other if schedule == "constant" else one > other for one, other in pairwise(later))
    assert later[-1] == pytest.approx(1e-3 if schedule == "constant" else 0)
    middle = {"poly": 1e-3 * 0.45**0.9, "constant": 1e-3, "cosine": 0.5e-3}
    assert learning_rate(settings, 0.55) == pytest.approx(middle[schedule])


def test_validations_are_spread_over_the_whole_training_where_it_may_end_early():
    def all_of(settings: FinetuneConfig) -> list[float]:
        shares = [next_validation(settings, 0.0)]
        while shares[-1] < 1:
            shares.append(next_validation(settings, shares[-1]))
        return shares

    assert all_of(config(validations=5)) == pytest.approx([0.4, 0.55, 0.7, 0.85, 1.0])
    assert all_of(config(validations=5, patience=2)) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all_of(config(validations=1)) == [1.0]
    assert all_of(config(validations=2)) == [0.4, 1.0]


def test_a_frozen_encoder_keeps_nothing_for_a_backward_pass_and_the_rest_still_learns():
    network = SegmentationNetwork("tiny", 1, 2, (32, 32))
    training = Finetuning(config(layer_decay=0), network, SimpleNamespace(), make_fabric(precision="32-true"))
    image = torch.rand(1, 1, 32, 32)
    network.train()
    encoded = network.encoder(image)
    assert not any(maps.requires_grad for maps in [*encoded.stages, *encoded.stem])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for group in training.optimizer.param_groups:
        group["lr"] = 0.1 * group["share"]
    training.wrapped(image)[0].square().sum().backward()
    training.optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("encoder.") for name in changed)
    assert {group["eps"] for group in training.optimizer.param_groups} == {1e-8}


@pytest.mark.parametrize("overlapping", [False, True])
def test_smoothed_targets_punish_certainty(overlapping):
    scores, targets = torch.tensor([[30.0, -30.0]]), torch.tensor([[1.0, 0.0]])

    def loss(smoothing: float) -> float:
        task = Classification.__new__(Classification)
        task.config, task.overlapping = config(label_smoothing=smoothing), overlapping
        task._weights = torch.ones(2)
        return float(task.loss(scores, targets))

    assert loss(0) == pytest.approx(0, abs=1e-6)
    assert loss(0.2) == pytest.approx(0.1 * (30 if overlapping else 60))


def test_rare_classes_of_a_case_are_drawn_as_often_as_common_ones():
    labels = np.zeros((1, 16, 40, 40), np.uint8)
    labels[0, :, :30, :] = 1
    labels[0, 8, 36, 36] = 2  # one voxel
    points, rng = class_points(labels, 3), np.random.default_rng(0)
    starts = [draw_start((16, 40, 40), (4, 8, 8), points, 0.8, rng) for _ in range(400)]
    rare = [
        all(s <= p < s + n for s, p, n in zip(start, (8, 36, 36), (4, 8, 8), strict=True)) for start in starts
    ]
    assert 0.33 < np.mean(rare) < 0.5  # half of the 80 % that are centred on a class


def prepared(folder: Path, image: engine.Image, suffix: str, **settings: object):
    """One case in the cache: what is stored, and how it is scaled."""
    path = folder / f"p{suffix}"
    engine.write(image, path)
    cases = (Case((path,), classes=("a",)),)
    dataset = Dataset("set", "classification", cases, {0: "a", 1: "b"})
    cache = Cache(folder / "cache")
    found, storing = prepare_cases(cases, config(**settings), dataset, cache, lambda share: None, pytest.fail)
    fitted = fit_intensity(storing, found, cache)
    return cache.open(found[0].key, "image")[:], fitted, found[0].key


@pytest.mark.parametrize(
    ("kind", "low", "high", "mean", "std"),
    [
        ("u1", 0, 255, 0.5056 * 255, 0.252 * 255),  # ChestXR's, of values in [0, 1]
        ("u2", 0, 65535, 0, 1),
        ("i2", -1024, 325, 158.58, 324.7),  # RICORD's
    ],
)
def test_given_intensities_are_never_fitted_and_lose_nothing_on_their_way(
    tmp_path, kind, low, high, mean, std
):
    volume = kind == "i2"
    shape, suffix = ((32, 32, 32), ".nii.gz") if volume else ((32, 32), ".png")
    limits = (-1024, 3000) if volume else (0, np.iinfo(kind).max)
    values = np.random.default_rng(0).integers(*limits, shape, endpoint=True).astype(kind)
    image = engine.Image(values[None], engine.Geometry.from_spacing(shape))
    given = Intensity(scheme="fixed", low=low, high=high, mean=mean, std=std)
    patch = shape
    stored, fitted, key = prepared(tmp_path, image, suffix, patch=patch, intensity=given)
    assert fitted.intensity == given
    expected = (np.clip(values.astype(float), low, high) - mean) / std
    np.testing.assert_allclose(fitted.intensity.from_stored(stored)[0], expected, atol=0.002, rtol=1e-6)
    np.testing.assert_allclose(fitted.prepare(image)[0], expected, atol=1e-5, rtol=1e-6)  # as prediction does
    assert prepared(tmp_path, image, suffix, patch=patch)[2] != key


@pytest.mark.parametrize("task", [Segmentation, Classification])
def test_what_the_network_sees_whole_is_shifted_and_patches_are_not(tmp_path, task):
    name = task.__name__.lower()
    config = FinetuneConfig.build({"dataset": tmp_path, "task": name, "init": None})
    flat, volume = (engine.Geometry.from_spacing(shape) for shape in ((64, 64), (32, 64, 64)))
    assert task.resolve(config, [flat], "cpu")["shift"] == 0.1
    assert task.resolve(config, [volume], "cpu")["shift"] == (0.0 if task is Segmentation else 0.1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for n in range(20):
        name = "dark" if n % 2 else "bright"
        (folder / name).mkdir(exist_ok=True)
        values = rng.integers(0, 255, (1, 32, 32)).astype(np.uint8)
        engine.write(
            engine.Image(values, engine.Geometry.from_spacing((32, 32))), folder / name / f"p{n}.png"
        )
    return folder


def without_hope(pictures: Path, **more: object) -> FinetuneConfig:
    """A training that learns next to nothing, with two steps from one validation to the next."""
    settings = {"dataset": pictures, "task": "classification", "init": None, "precision": "32-true"}
    small = {"patch": (32, 32), "batch_size": 4, "lr": 1e-12, "holdout": 0, "patience": 2, "validations": 6}
    return FinetuneConfig.build({**settings, **small, "epochs": 3, **more})


def ending(run: Run) -> str:
    return [event["message"] for event in run.events() if event["kind"] == "finished"][-1]


def test_it_ends_early_where_nothing_gets_better_and_does_so_once_it_is_resumed(pictures, tmp_path):
    run = Run(tmp_path / "run")

    def stop(event: dict[str, object]) -> None:
        if event["kind"] == "metrics" and event["step"] == 4:  # it obeys after the next one
            run.stop()

    finetune(without_hope(pictures, layer_decay=0, init="starter"), run.path, listener=stop)
    assert run.state == State.STOPPED
    assert run.config()["steps"] == 12  # three passes over 16 cases, four in a step
    resumed = FinetuneConfig.build(run.config())
    finetune(resumed, run.path, resume=True)
    assert run.state == State.FINISHED
    assert [event["step"] for event in run.metrics() if "auc" in event] == [2, 4, 6]
    assert "ended early at step 6: no better auc in 2 validations in a row" in ending(run)
    assert "was at step 2" in ending(run)
    finetune(resumed, run.path, resume=True)  # is over, and stays so
    assert run.metrics()[-1]["step"] == 6
    assert "ended early at step 6" in ending(run)
    saved = checkpoint.load(run.last, only="")
    encoder = {n: t for n, t in saved.part("network").items() if n.startswith("encoder.")}
    assert all(torch.equal(tensor, saved.part("average")[name]) for name, tensor in encoder.items())
