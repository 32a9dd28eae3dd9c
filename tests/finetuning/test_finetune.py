"""Fine-tuning, prediction and evaluation as a user runs them, on generated scans in any orientation."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

import unimiss as engine
from unimiss.inference import Predictor
from unimiss.models import checkpoint
from unimiss.runs import Run, State

TINY = "--init none --precision 32-true --seed 1 --set patch=[16,32,32] --set batch_size=1 --set validations=1".split()


@pytest.fixture(scope="module")
def run(unimiss, torsos, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "finetuning"
    done = unimiss("finetune", torsos, "--task", "segmentation", "--steps", 3, "--run", folder, *TINY)
    assert done.returncode == 0, done.stderr
    return Run(folder)


@pytest.fixture(scope="module")
def predictions(unimiss, run, torsos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    done = unimiss("predict", run.path, torsos / "imagesTr", "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_run_folder_holds_what_was_promised(run):
    assert run.state == State.FINISHED
    assert {"dice", "loss", "lr"} <= set(run.metrics()[-1])
    assert run.best.exists()
    assert run.last.exists()
    assert run.config()["patch"] == [16, 32, 32]
    splits = run.manifest()["splits"]
    assert len(splits["validation"]) == 1
    assert not set(splits["training"]) & set(splits["validation"])
    assert list(run.path.glob("events.out.tfevents.*"))


def test_the_model_says_how_to_prepare_images_and_what_its_classes_are(run):
    description = checkpoint.load(run.path).description
    assert description.labels == {0: "background", **engine.samples.ORGANS}
    assert description.preprocessing.intensity.scheme == "hounsfield"
    assert description.preprocessing.intensity.std > 1


def test_masks_lie_on_their_sources_voxel_for_voxel_whatever_the_orientation(predictions, torsos):
    sources = sorted((torsos / "imagesTr").iterdir())
    orientations = set()
    for source in sources:
        image, mask = nibabel.load(source), nibabel.load(predictions / source.name)
        orientations.add(nibabel.aff2axcodes(image.affine))
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert set(np.unique(mask.dataobj)) <= set(range(8))
    assert len(orientations) == len(sources)
    assert json.loads((predictions / "labels.json").read_text())["3"] == "liver"


def test_mirrored_views_give_the_mirrored_mask_of_a_mirrored_image(run, torsos):
    image = engine.read(sorted((torsos / "imagesTr").iterdir())[0])
    predictor = Predictor(run.path, mirror=True)
    shares: list[float] = []
    scores = predictor.segment(image, shares.append, probabilities=True)[1]
    mirrored = predictor.probabilities(image.with_array(image.array[..., ::-1].copy()))
    np.testing.assert_allclose(mirrored.array[..., ::-1], scores.array, atol=0.02)  # bf16 rounds
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_evaluation_names_every_organ(unimiss, predictions, torsos, tmp_path):
    done = unimiss("evaluate", predictions, torsos / "labelsTr", "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "liver" in done.stdout
    assert json.loads((tmp_path / "scores.json").read_text())["cases"]


def test_one_bad_case_never_stops_the_others(unimiss, run, torsos, tmp_path):
    source = sorted((torsos / "imagesTr").iterdir())[0]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.nii.gz").write_bytes(source.read_bytes()[:500])
    (tmp_path / "in" / source.name).write_bytes(source.read_bytes())
    far = engine.Geometry.from_spacing((24, 24, 12), (1e5, 1e5, 1e5))
    engine.write(engine.Image(np.ones((1, 24, 24, 12), np.int16), far), tmp_path / "in" / "far.nii.gz")
    done = unimiss("predict", run.path, tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "bad.nii.gz" in done.stdout
    assert "far.nii.gz" in done.stdout
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / source.name).exists()


def test_a_mask_may_be_written_in_another_format_and_with_probabilities(unimiss, run, torsos, tmp_path):
    source = sorted((torsos / "imagesTr").iterdir())[1]
    done = unimiss("predict", run.path, source, "--output", tmp_path, "--format", "nrrd", "--probabilities")
    assert done.returncode == 0, done.stderr
    image, mask = engine.read(source), engine.read(tmp_path / source.name.replace(".nii.gz", ".nrrd"))
    assert image.geometry.difference(mask.geometry) is None
    scores = engine.read(tmp_path / source.name.replace(".nii.gz", "_probabilities.nii.gz"))
    assert scores.array.shape == (8, *image.geometry.shape)
    np.testing.assert_allclose(scores.array.sum(axis=0), 1, atol=1e-3)


def test_flat_images_are_fine_tuned_and_predicted_from_a_pretrained_backbone(unimiss, torsos, tmp_path):
    masks = tmp_path / "set" / "masks"
    masks.mkdir(parents=True)
    (tmp_path / "set" / "images").symlink_to(torsos / "radiographs")
    for path in (torsos / "radiographs").iterdir():
        image = engine.read(path)
        engine.write(image.with_array((image.array > 128).astype(np.uint8) * 7), masks / path.name)
    pretrained = tmp_path / "pretrained"
    sizes = ["--set", "size_2d=[32,32]", "--set", "outputs=8", "--set", "batch_2d=1", "--set", "holdout=0"]
    done = unimiss("pretrain", "--images", torsos / "radiographs", "--steps", 1, "--run", pretrained, *sizes)
    assert done.returncode == 0, done.stderr
    tiny = ["--steps", 2, "--set", "patch=[32,32]", "--set", "batch_size=1", "--run", tmp_path / "run"]
    done = unimiss("finetune", tmp_path / "set", "--init", pretrained, *tiny)
    assert done.returncode == 0, done.stderr
    weights = Run(tmp_path / "run").manifest()["weights"]
    assert len(weights["loaded"]) > 50
    done = unimiss("predict", tmp_path / "run", torsos / "radiographs", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    mask = engine.read(next((tmp_path / "out").glob("*.png")))
    assert mask.geometry.shape == (48, 48)
    assert set(np.unique(mask.array)) <= {0, 7}


def test_without_further_ado_it_starts_from_the_starter_weights(unimiss, torsos, tmp_path):
    options = [*TINY[2:], "--steps", 1, "--run", tmp_path / "run"]
    done = unimiss("finetune", torsos, *options)
    assert done.returncode == 0, done.stderr
    run = Run(tmp_path / "run")
    assert run.config()["init"] == "starter"
    assert len(run.manifest()["weights"]["loaded"]) > 50


def test_a_network_that_the_weights_are_not_for_is_refused(unimiss, torsos, tmp_path):
    done = unimiss("finetune", torsos, "--network", "small", "--run", tmp_path / "run")
    assert done.returncode == 2
    assert "--init none" in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_and_resumed_it_ends_with_the_weights_of_an_uninterrupted_run(unimiss, run, torsos, tmp_path):
    killed = Run(tmp_path / "killed")
    given = ["finetune", str(torsos), "--run", str(killed.path), "--steps", "3", "--checkpoint-every", "1"]
    process = subprocess.Popen([sys.executable, "-m", "unimiss", *given, *TINY])
    deadline = time.monotonic() + 200
    while not killed.last.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert unimiss("finetune", "--run", killed.path, "--resume").returncode == 0
    one, other = (checkpoint.load(r.last).part("network") for r in (killed, run))
    assert all(np.allclose(one[name], other[name], atol=1e-6) for name in one)
