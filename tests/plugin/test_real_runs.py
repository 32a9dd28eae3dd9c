"""The docks with the engine's own commands, on images that a network learns within seconds."""

import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import oblique_geometry, steps

import unimiss
from napari_unimiss import layers
from unimiss import Geometry, Image
from unimiss.runs import Run, State

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

WAIT = 90_000  # ms; a child loads its libraries first
PRETRAINING = (
    "size_2d=[32,32] size_3d=[4,32,32] batch_2d=1 batch_3d=1 epoch_2d=1 epoch_3d=1 epochs_each=1 outputs=16"
)
FINETUNING = "patch=[16,32,32] spacing=[2,2,2] validations=1 folds=2"


def scene(seed: int, geometry: Geometry) -> tuple[Image, Image]:
    """A volume with one bright ellipsoid off its middle, and the ellipsoid's mask."""
    rng = np.random.default_rng(seed)
    points = geometry.to_world(np.stack(np.indices(geometry.shape), -1))
    low, high = (f(points.reshape(-1, 3), axis=0) for f in (np.min, np.max))
    centre = low + (high - low) * rng.choice((0.3, 0.7), 3)
    inside = (((points - centre) / (high - low) / rng.uniform(0.16, 0.24, 3)) ** 2).sum(-1) < 1
    values = rng.normal(0, 15, geometry.shape) + 400 * inside
    mask = Image(inside[None].astype(np.uint8) * 3, geometry, labels={0: "background", 3: "lesion"})
    return Image(values[None].astype(np.int16), geometry), mask


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Small networks gain nothing from more, and children that share a busy machine lose a lot."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for seed in range(4):
        image, mask = scene(seed, Geometry.from_spacing((20, 40, 36), (2, 2, 2)))
        unimiss.write(image, folder / "imagesTr" / f"case{seed}.nii.gz")
        unimiss.write(mask, folder / "labelsTr" / f"case{seed}.nii.gz")
    described = {"labels": {"0": "background", "3": "lesion"}}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 255, (1, 48, 40)).astype(np.uint8)
        unimiss.write(Image(pixels, Geometry.from_spacing((48, 40), units="pixel")), folder / f"{seed}.png")
    return folder


@pytest.fixture
def open_dock(make_napari_viewer):
    viewer = make_napari_viewer()

    def open_one(name: str):
        return viewer.window.add_plugin_dock_widget("napari-unimiss", name)[1]

    open_one.viewer = viewer
    return open_one


@pytest.fixture
def pretrain(open_dock, films, dataset, tmp_path):
    dock = open_dock("Pre-train")
    dock.form.field("images").add([films])
    dock.form.field("volumes").add([dataset / "imagesTr"])
    dock.form.field("preset").value = "demo"
    dock.form.field("length").value = "steps"
    dock.form.field("steps").value = 5000
    dock.form.field("more").value = PRETRAINING
    dock.form.field("run").value = tmp_path / "pretrained"
    return dock


def until_the_end(qtbot, dock) -> str:
    qtbot.waitUntil(lambda: dock.panel.job.ending is not None, timeout=WAIT)
    assert not psutil.pid_exists(dock.panel.job.child.process.pid)
    return dock.panel.status.text()


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


def shorten(run: Run, steps: int) -> None:
    """Let a stopped run end soon: its length may change."""
    settings = run.config_file.read_text().replace("steps: 5000\n", f"steps: {steps}\n")
    assert f"steps: {steps}\n" in settings
    run.config_file.write_text(settings)


def test_pretraining_is_stopped_with_a_checkpoint_resumed_and_watched_to_its_end(
    qtbot, pretrain, shared_runs
):
    run = Run(shared_runs / "pretrained")
    pretrain.form.field("run").value = run.path
    pretrain.start()
    qtbot.waitUntil(lambda: steps(pretrain.panel) > 1, timeout=WAIT)
    pretrain.panel.stop_button.click()
    said = until_the_end(qtbot, pretrain)
    assert "checkpoint is kept" in said
    assert "press Resume" in said
    assert run.state is State.STOPPED
    assert run.last.exists()
    done = steps(pretrain.panel)
    shorten(run, done + 4)
    assert pretrain.start_button.text() == pretrain.button
    pretrain.form.field("run").value = run.path
    assert pretrain.start_button.text() == "Resume"
    stages = []
    pretrain.start()
    pretrain.panel.job.progress.connect(lambda event: stages.append(pretrain.panel.stage.text()))
    assert until_the_end(qtbot, pretrain).startswith("Finished")
    assert "Goes on from its last checkpoint." in pretrain.panel.log.toPlainText()
    assert any(f"step {done + 4} of {done + 4}" in stage for stage in stages)
    assert set(pretrain.panel.plot.loss.points) == {"X-rays", "volumes"}
    assert steps(pretrain.panel) == 4
    assert run.state is State.FINISHED
    assert [event["step"] for event in run.metrics()] == list(range(1, done + 5))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_pretraining_is_reported_in_words(qtbot, pretrain):
    pretrain.start()
    qtbot.waitUntil(lambda: pretrain.panel.job.child is not None, timeout=WAIT)
    os.kill(pretrain.panel.job.child.process.pid, signal.SIGKILL)
    assert "killed from outside" in until_the_end(qtbot, pretrain)


def test_closing_the_viewer_stops_the_training(qtbot, pretrain, open_dock, tmp_path):
    pretrain.start()
    job = pretrain.panel.job
    qtbot.waitUntil(lambda: steps(pretrain.panel) > 0, timeout=WAIT)
    open_dock.viewer.close()
    assert not psutil.pid_exists(job.child.process.pid)
    assert Run(tmp_path / "pretrained").state is State.STOPPED


def test_a_folder_without_images_is_refused_in_the_engines_words(qtbot, pretrain, tmp_path):
    (tmp_path / "empty").mkdir()
    pretrain.form.field("images").value = [tmp_path / "empty"]
    pretrain.form.field("volumes").value = []
    pretrain.start()
    sentence = until_the_end(qtbot, pretrain)
    assert "no image" in sentence
    assert "Traceback" not in pretrain.panel.log.toPlainText()


@pytest.fixture
def tuned(qtbot, open_dock, dataset, shared_runs) -> Path:
    """A run folder of the Fine-tune dock, made once for all tests."""
    folder = shared_runs / "tuned"
    if not folder.exists():
        dock = open_dock("Fine-tune")
        dock.form.field("dataset").value = dataset
        dock.form.field("start").value = "none"
        dock.form.field("budget")["unit"].value = "--steps"
        dock.form.field("budget")["amount"].value = 40
        dock.form.field("more").value = FINETUNING
        dock.form.field("run").value = folder
        dock.start()
        assert until_the_end(qtbot, dock).startswith("Finished")
        assert dock.panel.plot.reached.points["Dice"][1]
        open_dock.viewer.window.remove_dock_widget(dock)
    return folder


@pytest.fixture
def pretrained(request, dataset, films, shared_runs) -> Path:
    """The run that a dock made, or one by the command line where that test was not run."""
    folder = shared_runs / "pretrained"
    if not folder.exists():
        sets = [word for setting in PRETRAINING.split() for word in ("--set", setting)]
        places = ["--images", films, "--volumes", dataset / "imagesTr"]
        command_line = request.getfixturevalue("unimiss")
        made = command_line("pretrain", *places, "--steps", 2, "--run", folder, *sets)
        assert made.returncode == 0, made.stderr
    return folder


def test_fine_tuning_starts_from_the_pretrained_model(qtbot, open_dock, dataset, pretrained, tmp_path):
    dock = open_dock("Fine-tune")
    dock.form.field("dataset").value = dataset
    dock.form.field("start").value = "model"
    dock.form.field("model").value = pretrained
    dock.form.field("budget")["unit"].value = "--steps"
    dock.form.field("budget")["amount"].value = 2
    dock.form.field("more").value = FINETUNING
    dock.form.field("run").value = tmp_path / "run"
    dock.start()
    assert until_the_end(qtbot, dock).startswith("Finished")


def dice(one, other) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def predict(qtbot, open_dock, model: Path, layer):
    dock = open_dock("Predict")
    dock.form.field("image").value = layer
    dock.form.field("model").value = model
    dock.start()
    status = until_the_end(qtbot, dock)
    assert not Path(dock.panel.job.order.scratch.name).exists()
    return status


def test_predicted_mask_lies_on_an_oblique_mirrored_volume(qtbot, open_dock, tuned):
    image, truth = scene(11, oblique_geometry(shape=(16, 100, 80)))
    ((data, options, _),) = layers.image_layers(image, "scan")
    layer = open_dock.viewer.add_image(data, **options)
    assert "the mask lies on scan" in predict(qtbot, open_dock, tuned, layer)
    labels = open_dock.viewer.layers[-1]
    assert labels.data.shape == layer.data.shape
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * (np.array(layer.data.shape) - 1)
        np.testing.assert_allclose(labels.data_to_world(index), layer.data_to_world(index), atol=1e-9)
    found, wanted = labels.data == 3, truth.array[0] == 3
    assert dice(found, wanted) > 0.7
    for axes in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
        assert dice(np.flip(found, axes), wanted) < 0.5, f"as good when mirrored along {axes}"
    assert labels.metadata["unimiss"]["labels"][3] == "lesion"


def test_the_viewer_gives_the_mask_of_python_voxel_for_voxel(qtbot, open_dock, tuned, tmp_path):
    from unimiss.inference import Predictor

    unimiss.write(scene(12, oblique_geometry(shape=(16, 100, 80)))[0], tmp_path / "scan.nii.gz")
    image = unimiss.read(tmp_path / "scan.nii.gz")
    ((data, options, _),) = layers.image_layers(image, "scan")
    layer = open_dock.viewer.add_image(data, **options)
    predict(qtbot, open_dock, tuned, layer)
    np.testing.assert_array_equal(open_dock.viewer.layers[-1].data, Predictor(tuned).predict(image).array[0])


def test_a_model_for_volumes_refuses_a_flat_picture_in_words(qtbot, open_dock, tuned):
    layer = open_dock.viewer.add_image(np.zeros((40, 40), np.uint8), name="picture")
    before = len(open_dock.viewer.layers)
    sentence = predict(qtbot, open_dock, tuned, layer)
    assert sentence.startswith("The layer picture has 2 ")
    assert "Traceback" not in sentence
    assert "unexpectedly" not in sentence
    assert len(open_dock.viewer.layers) == before
