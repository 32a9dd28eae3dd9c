"""Probes tell features that know the classes from those that do not, on patients that were held out."""

import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.cli import main
from unimiss.errors import InputError
from unimiss.pretraining.probe import Probe
from unimiss.runs import Run


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Two folders of pictures; a bright half tells the classes apart."""
    folder, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for label, name in enumerate(("left", "right")):
        for i in range(60):
            pixels = rng.integers(0, 100, (1, 32, 32))
            pixels[:, :, 16 * label : 16 * (label + 1)] += 100
            image = engine.Image(
                pixels.astype(np.uint8), engine.Geometry.from_spacing((32, 32), units="pixel")
            )
            engine.write(image, folder / name / f"{name}{i}.png")
    return folder


def test_good_features_are_told_from_noise(classes):
    probe = Probe.read(classes, (32, 32), 5, lambda text: None)
    halves = probe.measure(
        lambda x: torch.stack([x[..., :16].mean((1, 2, 3)), x[..., 16:].mean((1, 2, 3))], dim=1)
    )
    assert min(halves["probe_linear"], halves["probe_knn"]) > 0.95
    torch.manual_seed(0)
    noise = probe.measure(lambda x: torch.randn(len(x), 4))
    assert max(noise["probe_linear"], noise["probe_knn"]) < 0.85


def test_the_test_is_of_patients_that_are_never_trained_on(classes):
    probe = Probe.read(classes, (32, 32), 5, lambda text: None)
    assert 10 <= probe.held_out.sum() < 60
    assert len(probe.images) == 120


def test_a_damaged_picture_is_named_and_left_out(classes, tmp_path):
    (tmp_path / "set").symlink_to(classes)
    (classes / "left" / "damaged.png").write_bytes(b"no picture")
    told = []
    probe = Probe.read(tmp_path / "set", (32, 32), 5, told.append)
    (classes / "left" / "damaged.png").unlink()
    assert len(probe.images) == 120
    assert len(told) == 1
    assert "damaged.png" in told[0]


@pytest.mark.parametrize("holdout", [0, 100_000])
def test_a_folder_that_cannot_be_split_is_refused(classes, holdout):
    with pytest.raises(InputError, match="held-out patients"):
        Probe.read(classes, (32, 32), holdout, lambda text: None)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match="one folder of images for each class"):
        Probe.read(tmp_path, (32, 32), 5, lambda text: None)


def test_a_run_with_a_probe_reports_it_and_keeps_the_best_and_the_last_checkpoints(classes, tmp_path):
    settings = f"size_2d=[32,32] batch_2d=4 outputs=8 probe={classes} checkpoint_every=2 keep_checkpoints=1 signals_every=2"
    sets = [word for setting in settings.split() for word in ("--set", setting)]
    arguments = ["pretrain", "--images", str(classes), "--steps", "4", "--run", str(tmp_path / "run"), *sets]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    run = Run(tmp_path / "run")
    second, fourth = (run.metrics()[i] for i in (1, 3))
    for values in (second, fourth):
        assert 0 <= values["probe_linear"] <= 1
        assert {"teacher_entropy_2d", "feature_spread_2d", "prototypes_used_2d", "view_agreement_2d"} <= set(
            values
        )
    assert "probe_linear" not in run.metrics()[0]
    assert run.metrics()[0]["memory_gib"] > 0
    assert run.best.exists()
    assert [path.name for path in run.last.parent.glob("step-*")] == ["step-00000004"]


def test_a_wrong_probe_is_told_before_any_work_and_leaves_no_run(classes, tmp_path, capsys):
    arguments = [
        "--images",
        str(classes),
        "--run",
        str(tmp_path / "run"),
        "--set",
        f"probe={tmp_path / 'none'}",
    ]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *arguments])
    assert ended.value.code == 2
    assert "at least two" in capsys.readouterr().err
    assert not Run(tmp_path / "run").exists()
