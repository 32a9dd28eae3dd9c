"""One model or several, whole images or crops: what comes out is the mean that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference

import unimiss as engine
from unimiss.data.preprocessing import Intensity, Preprocessing
from unimiss.errors import InputError
from unimiss.inference import Predictor, cases, group, resizing
from unimiss.inference.components import keep_largest
from unimiss.inference.crops import ten_crops
from unimiss.inference.windows import window_slabs
from unimiss.models.checkpoint import Checkpoint, Description
from unimiss.runs import Run, State

ORGANS = {0: "background", 3: "liver", 7: "spleen"}


def model(run: Path, seed: int, **changed: Any) -> Path:
    """Write a model that was never trained as the best of a run."""
    flat = changed.pop("flat", False)
    intensity = Intensity(scheme="hounsfield", low=0, high=100 + seed, std=50)
    prepared = {"size": (32, 32)} if flat else {"spacing": (2.0, 1.5, 1.5)}
    values: dict[str, Any] = {
        "kind": "classification" if flat else "segmentation",
        "network": "tiny",
        "native": {2: (32, 32)} if flat else {3: (16, 32, 32)},
        "channels": {2: 1} if flat else {},
        "labels": {0: "healthy", 1: "ill"} if flat else ORGANS,
        "preprocessing": Preprocessing(intensity=intensity, **prepared),
        "objective": "test",
        "step": 1,
    }
    description = Description(**{**values, **changed})
    torch.manual_seed(seed)
    network = description.make_network()
    weights = {f"network.{name}": one for name, one in network.state_dict().items()}
    (run / "checkpoints").mkdir(parents=True)
    Checkpoint(description, weights).save(run / "checkpoints" / "best")
    return run


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    for seed in range(2):
        model(folder / f"fold-{seed}", seed)
    return folder


@pytest.fixture(scope="module")
def volume() -> engine.Image:
    values = np.random.default_rng(0).integers(0, 100, (1, 21, 40, 44)).astype(np.int16)
    return engine.Image(values, engine.Geometry.from_spacing(values.shape[1:], (1.7, 1.3, 1.3)))


@pytest.fixture(scope="module")
def radiograph() -> engine.Image:
    values = np.random.default_rng(1).integers(0, 100, (1, 50, 60)).astype(np.uint8)
    return engine.Image(values, engine.Geometry.from_spacing(values.shape[1:]))


def exact(path: Path) -> Predictor:
    """Load a model, or several, to compute in float32 on any machine."""
    predictor = Predictor(path)
    for member in predictor._members:
        member.precision = "32-true"
    return predictor


def mean_of_windows(models: list[Predictor], image: engine.Image) -> np.ndarray:
    """Blend each model's probabilities of windows by MONAI, resize them to the image's grid, take the mean."""
    found = []
    for predictor in models:
        (member,) = predictor._members
        prepared = torch.from_numpy(member.preprocessing.prepare(image)).to(member.device)
        with torch.inference_mode():
            blended = sliding_window_inference(
                prepared[None],
                member.patch,
                1,
                lambda views, own=member: own.score(views).softmax(dim=1),
                overlap=0.5,
                mode="gaussian",
                padding_mode="constant",
                cval=float(prepared.min()),
            )
        found.append(F.interpolate(blended, size=image.geometry.shape, mode="trilinear")[0].cpu().numpy())
    return np.mean(found, axis=0)


def test_a_folder_of_runs_decides_by_the_mean_of_their_probabilities(folds, volume):
    together = exact(folds)
    shares: list[float] = []
    mask, found = together.segment(volume, shares.append, probabilities=True)
    alone = [exact(folds / f"fold-{seed}") for seed in range(2)]
    expected = mean_of_windows(alone, volume)
    assert np.abs(expected - mean_of_windows(alone[:1], volume)).max() > 0.01
    np.testing.assert_allclose(found.array, expected, atol=1e-5)
    np.testing.assert_array_equal(mask.array[0], np.array(list(ORGANS))[found.array.argmax(axis=0)])
    assert mask.labels == ORGANS
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_models_of_other_voxel_sizes_or_windows_decide_together_by_their_number(tmp_path, volume):
    intensity = Intensity(scheme="hounsfield", low=0, high=100, std=50)
    for seed in range(3):
        other = {"preprocessing": Preprocessing(intensity=intensity, spacing=(2.5, 1.5, 1.5))} if seed else {}
        model(tmp_path / f"fold-{seed}", seed, **other)
    expected = mean_of_windows([exact(tmp_path / f"fold-{seed}") for seed in range(3)], volume)
    np.testing.assert_allclose(exact(tmp_path).probabilities(volume).array, expected, atol=1e-5)


@pytest.mark.parametrize("mirror", [False, True])
def test_an_ensemble_holds_one_image_and_one_sum_however_many_models_there_are(
    tmp_path, volume, mirror, monkeypatch
):
    """Models that prepare an image alike share it; with other intensities each has one more image."""
    sums: list[torch.Size] = []
    monkeypatch.setattr(
        group,
        "window_slabs",
        lambda *given, **mirrored: sums.append(given[1].shape) or window_slabs(*given, **mirrored),
    )
    intensity = Intensity(scheme="hounsfield", low=0, high=100, std=50)
    alike = Preprocessing(intensity=intensity, spacing=(2.0, 1.5, 1.5))
    for seed in range(3):
        model(tmp_path / f"fold-{seed}", seed, **({"preprocessing": alike} if seed else {}))
    Predictor(tmp_path, mirror=mirror).predict(volume)
    assert [tuple(shape[:2]) for shape in sums] == [(1, 1)]
    model(tmp_path / "fold-3", 3)
    Predictor(tmp_path, mirror=mirror).predict(volume)
    assert [tuple(shape[:2]) for shape in sums[1:]] == [(2, 1)]


def test_progress_ends_at_one_where_an_image_is_coarser_than_the_network_s_grid(folds):
    thin = engine.Image(
        np.ones((1, 1, 30, 30), np.int16), engine.Geometry.from_spacing((1, 30, 30), (80, 1, 1))
    )
    shares: list[float] = []
    Predictor(folds / "fold-0").predict(thin, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_mask_is_the_same_voxel_for_voxel_however_many_rows_are_made_at_a_time(folds, volume, monkeypatch):
    predictor = Predictor(folds / "fold-0")
    whole = predictor.predict(volume).array
    assert len(np.unique(whole)) > 1
    monkeypatch.setattr(resizing, "_MOST_VALUES", 1)
    np.testing.assert_array_equal(predictor.predict(volume).array, whole)


def test_python_and_command_line_give_the_same_mask_voxel_for_voxel(unimiss, folds, volume, tmp_path):
    engine.write(volume, tmp_path / "scan.nii.gz")
    done = unimiss(
        "predict", folds, tmp_path / "scan.nii.gz", "--output", tmp_path / "out", "--largest-component"
    )
    assert done.returncode == 0, done.stderr
    found = engine.read(tmp_path / "out" / "scan.nii.gz")
    expected = Predictor(folds, largest_component=True).predict(engine.read(tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(found.array, expected.array)
    plain = Predictor(folds).predict(volume).array
    keep_largest(plain[0])
    np.testing.assert_array_equal(found.array, plain)


def test_overlapping_classes_are_where_the_mean_probability_is_a_half(tmp_path, volume):
    for seed in range(2):
        model(
            tmp_path / f"fold-{seed}",
            seed,
            labels={0: "background", 1: "lung", 2: "nodule"},
            overlapping=True,
        )
    for path in (tmp_path, tmp_path / "fold-0"):
        mask, found = Predictor(path).segment(volume, probabilities=True)
        np.testing.assert_array_equal(mask.array, found.array >= 0.5)
        assert 0 < mask.array.mean() < 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": {0: "background", 1: "liver", 2: "spleen"}}, "differ in classes"),
        ({"flat": True}, "differ in task"),
        ({"channels": {3: 2}}, "differ in channels"),
    ],
)
def test_models_that_do_not_fit_together_are_refused_in_a_sentence(tmp_path, changed, said):
    model(tmp_path / "fold-0", 0)
    if "channels" in changed:
        intensity = Intensity(scheme="hounsfield", low=0, high=1)
        changed = {
            **changed,
            "preprocessing": Preprocessing(spacing=(2, 2, 2), intensity=intensity, channels=2),
        }
    model(tmp_path / "fold-1", 1, **changed)
    with pytest.raises(InputError, match=said):
        Predictor(tmp_path)


def test_a_fold_without_a_checkpoint_is_named(tmp_path):
    model(tmp_path / "fold-0", 0)
    (tmp_path / "fold-1").mkdir()
    (tmp_path / "fold-1" / "config.yaml").write_text("task: segmentation\n")
    (tmp_path / "fold-1" / "events.jsonl").write_text("")
    with pytest.raises(InputError, match="fold-1 has no checkpoint yet"):
        Predictor(tmp_path)


def test_one_run_or_runs_that_lie_deeper_are_named_in_words(tmp_path):
    model(tmp_path / "all" / "fold-0", 0)
    with pytest.raises(InputError, match=r"all holds 1 run; name it: .*fold-0"):
        Predictor(tmp_path / "all")
    with pytest.raises(InputError, match=r"holds runs in all; name .*all"):
        Predictor(tmp_path)
    model(tmp_path / "all" / "fold-1", 1)
    model(tmp_path / "all" / "older" / "fold-0", 2)
    with pytest.raises(InputError, match="all holds runs in older"):
        Predictor(tmp_path / "all")


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_an_interrupted_prediction_says_so_and_keeps_what_is_done(
    unimiss, tmp_path, volume, radiograph, monkeypatch, recorded, flat
):
    image, suffix = (radiograph, "png") if flat else (volume, "nii.gz")
    for name in "ab":
        engine.write(image, tmp_path / "in" / f"{name}.{suffix}")

    def read_one(files: tuple[Path, ...]) -> engine.Image:
        if files[0].name.startswith("b"):
            raise KeyboardInterrupt
        return engine.read(files[0])

    monkeypatch.setattr(cases, "read_image", read_one)
    run = ["--run", tmp_path / "record"] if recorded else []
    trained = model(tmp_path / "model", 0, flat=flat)
    done = unimiss("predict", trained, tmp_path / "in", "--output", tmp_path / "out", *run)
    assert done.returncode == 1
    assert f"stopped; what was finished is in {tmp_path / 'out'}" in done.stdout + done.stderr
    if flat:
        assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 2
    else:
        assert (tmp_path / "out" / "a.nii.gz").exists()
    if recorded:
        assert Run(tmp_path / "record").state == State.STOPPED


def test_formats_are_taken_in_any_case(unimiss, folds, volume, tmp_path):
    engine.write(volume, tmp_path / "a.nii")
    for given, name in (("NRRD", "a.nrrd"), (".MHA", "a.mha")):
        done = unimiss(
            "predict", folds / "fold-0", tmp_path / "a.nii", "--output", tmp_path / "out", "--format", given
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out" / name).exists()


def test_ten_crops_are_corners_and_middle_of_a_larger_image_and_their_mirror_images(tmp_path, radiograph):
    predictor = Predictor(model(tmp_path / "run", 0, flat=True))
    crops = ten_crops(predictor.preprocessing, radiograph)
    assert crops.shape == (10, 1, 32, 32)
    large = predictor.preprocessing.model_copy(update={"size": (37, 37)}).prepare(
        radiograph
    )  # 32 * 256 / 224
    np.testing.assert_array_equal(crops[0], large[:, :32, :32])
    np.testing.assert_array_equal(crops[3], large[:, 5:, 5:])
    np.testing.assert_array_equal(crops[4], large[:, 2:34, 2:34])
    np.testing.assert_array_equal(crops[5:], crops[:5, ..., ::-1])


def test_ten_crops_give_the_mean_of_their_probabilities(unimiss, tmp_path, radiograph):
    run = model(tmp_path / "run", 0, flat=True)
    found = Predictor(run, ten_crop=True).classify(radiograph)
    assert found["ill"] != pytest.approx(Predictor(run).classify(radiograph)["ill"], abs=1e-6)
    assert Predictor(run, ten_crop=True, mirror=True).classify(radiograph) == pytest.approx(found, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    engine.write(radiograph, tmp_path / "a.png")
    assert unimiss("predict", run, tmp_path / "a.png", "--output", tmp_path, "--ten-crop").returncode == 0
    row = (tmp_path / "predictions.csv").read_text().splitlines()[1].split(",")
    assert float(row[3]) == pytest.approx(found["ill"], abs=2e-6)


@pytest.mark.parametrize(
    ("flat", "options", "said"),
    [
        (False, {"ten_crop": True}, "ten crops are for that"),
        (True, {"largest_component": True}, "components are for that"),
    ],
)
def test_an_option_of_the_other_task_is_refused(
    tmp_path: Path, flat: bool, options: dict[str, bool], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Predictor(model(tmp_path / "run", 0, flat=flat), **options)


def test_ten_crops_of_volumes_are_refused(tmp_path):
    intensity = Intensity(scheme="hounsfield", low=0, high=1)
    whole = Preprocessing(size=(16, 32, 32), intensity=intensity)
    run = model(
        tmp_path / "run", 0, kind="classification", labels={0: "healthy", 1: "ill"}, preprocessing=whole
    )
    with pytest.raises(InputError, match="takes volumes"):
        Predictor(run, ten_crop=True)
