import os
import signal

import numpy as np
import psutil
import pytest
from conftest import steps
from qtpy.QtWidgets import QApplication, QLabel

from napari_unimiss import jobs
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.dock import NOTICE
from napari_unimiss.widgets.progress import in_words
from unimiss.runs import Run
from unimiss.runs.writer import RunWriter

WAIT = 20_000
NAMES = ("Pre-train", "Fine-tune", "Predict")


@pytest.fixture
def open_dock(make_napari_viewer):
    viewer = make_napari_viewer()

    def open_one(name: str):
        return viewer.window.add_plugin_dock_widget("napari-unimiss", name)[1]

    open_one.viewer = viewer
    return open_one


@pytest.fixture
def pretrain(open_dock, tmp_path):
    dock = open_dock("Pre-train")
    (tmp_path / "images").mkdir()
    dock.form.field("images").add([tmp_path / "images"])
    dock.form.field("run").value = tmp_path / "run"
    return dock


def until_it_works(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: steps(dock.panel) > 3, timeout=WAIT)


def until_the_end(qtbot, dock) -> str:
    qtbot.waitUntil(lambda: dock.panel.job.ending is not None, timeout=WAIT)
    assert not psutil.pid_exists(dock.panel.job.child.process.pid)
    return dock.panel.status.text()


@pytest.mark.parametrize("name", NAMES)
def test_every_dock_says_what_it_is_not(open_dock, name):
    dock = open_dock(name)
    assert NOTICE in [label.text() for label in dock.findChildren(QLabel)]


def test_progress_time_and_curves_are_shown(qtbot, pretrain, behave):
    behave("long")
    pretrain.start()
    until_it_works(qtbot, pretrain)
    panel = pretrain.panel
    qtbot.waitUntil(lambda: "left" in panel.stage.text(), timeout=WAIT)
    assert panel.stage.text().startswith("Training, step ")
    assert panel.bar.maximum() > 0
    qtbot.waitUntil(lambda: bool(panel.plot.reached.points), timeout=WAIT)
    assert "Started." in panel.log.toPlainText()
    panel.stop_button.click()
    assert not panel.stop_button.isEnabled()
    assert "checkpoint is kept" in until_the_end(qtbot, pretrain)
    assert panel.stage.text() == ""  # nothing of the job is told after its end
    assert Run(panel.job.order.run_folder).last.exists()
    suggested = pretrain.form.value("run")
    assert suggested.parent == panel.job.order.run_folder.parent
    assert not suggested.exists()


def test_end_now_is_offered_when_stop_does_not_help(qtbot, pretrain, behave):
    behave("deaf")
    pretrain.start()
    until_it_works(qtbot, pretrain)
    pretrain.panel._patience.setInterval(100)
    pretrain.panel.stop_button.click()
    qtbot.waitUntil(lambda: pretrain.panel.stop_button.text() == "End now", timeout=WAIT)
    pretrain.panel.stop_button.click()
    assert "Ended before it could finish" in until_the_end(qtbot, pretrain)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_child_is_reported(qtbot, pretrain, behave):
    behave("long")
    pretrain.start()
    until_it_works(qtbot, pretrain)
    os.kill(pretrain.panel.job.child.process.pid, signal.SIGKILL)
    assert "killed from outside" in until_the_end(qtbot, pretrain)


def test_another_docks_job_is_refused_in_words(qtbot, pretrain, open_dock, behave, tmp_path):
    behave("long")
    pretrain.start()
    finetune = open_dock("Fine-tune")
    finetune.form.field("dataset").value = tmp_path
    finetune.form.field("start").value = "none"
    finetune.form.field("run").value = tmp_path / "other"
    finetune.start()
    assert "Pre-training is still running" in finetune.panel.status.text()
    pretrain.panel.job.kill()
    until_the_end(qtbot, pretrain)


def test_a_reopened_dock_shows_its_running_job(qtbot, pretrain, open_dock, behave):
    behave("long")
    pretrain.start()
    until_it_works(qtbot, pretrain)
    job = pretrain.panel.job
    open_dock.viewer.window.remove_dock_widget(pretrain)
    again = open_dock("Pre-train")
    assert again.panel.job is job
    until_it_works(qtbot, again)
    again.panel.stop_button.click()
    until_the_end(qtbot, again)


def test_a_job_of_another_window_is_named_there(qtbot, pretrain, make_napari_viewer, behave):
    behave("long")
    pretrain.start()
    other = make_napari_viewer().window.add_plugin_dock_widget("napari-unimiss", "Pre-train")[1]
    assert other.panel.job is None
    assert "running in another window" in other.panel.status.text()
    other.start()
    assert "still running" in other.panel.status.text()
    pretrain.panel.job.kill()
    until_the_end(qtbot, pretrain)
    assert other.panel.job is None


ODD_PATHS = ["~nouserx/foo", "/" + "x" * 5000, "/x\0y"]


@pytest.mark.parametrize("path", ODD_PATHS, ids=["no such user", "too long", "no text"])
def test_odd_paths_are_problems_of_their_fields(open_dock, tmp_path, path):
    pretrain, finetune, predict = (open_dock(name) for name in NAMES)
    for dock, field, others in (
        (pretrain, "run", {"images": [tmp_path]}),
        (pretrain, "volumes", {"images": [tmp_path], "volumes": [path]}),
        (finetune, "dataset", {}),
        (finetune, "model", {"dataset": tmp_path, "start": "model"}),
        (finetune, "run", {"dataset": tmp_path, "start": "none"}),
    ):
        for name, value in others.items():
            dock.form.field(name).value = value
        if field != "volumes":
            dock.form.field(field).value = path
        dock.start()
        assert "cannot be used: " in dock.form.complaint(field)
        assert len(dock.form.complaint(field)) < 300
        dock.renew()
    predict.form.field("image").value = open_dock.viewer.add_image(np.zeros((3, 4, 5)))
    predict.form.field("model").value = path
    predict.start()
    assert "cannot be used: " in predict.form.complaint("model")
    assert jobs.current() is None


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space left on device"), "No space left"), (MemoryError(), "not enough memory")],
)
def test_what_the_system_refuses_is_a_sentence(pretrain, monkeypatch, error, said):
    def order():
        raise error

    monkeypatch.setattr(pretrain, "order", order)
    pretrain.start()
    assert said in pretrain.panel.status.text()


@pytest.mark.parametrize("ended", ["stopped", "error", None])
def test_an_interrupted_run_of_the_same_kind_is_resumed(open_dock, tmp_path, ended):
    run = tmp_path / "run"
    with RunWriter(run) as writer:
        writer.save_config({"dataset": "somewhere"})
        if ended:
            writer.event(ended)
    tune, pretrain = open_dock("Fine-tune"), open_dock("Pre-train")
    tune.form.field("run").value = run
    assert tune.start_button.text() == "Resume"
    assert tune.order().arguments == ["finetune", "--run", str(run), "--resume"]
    pretrain.form.field("images").add([tmp_path])
    pretrain.form.field("run").value = run
    assert pretrain.start_button.text() == pretrain.button
    pretrain.start()
    assert "already holds a run" in pretrain.form.complaint("run")
    with RunWriter(run, resume=True) as writer:
        assert checks.interrupted_run(run, "finetune") is None  # somebody works in it
        writer.event("finished")
    tune.form.field("start").value = "none"
    tune.form.field("dataset").value = tmp_path
    tune.start()
    assert "already holds a run" in tune.form.complaint("run")


def test_fields_become_the_command(pretrain, open_dock, tmp_path):
    pretrain.form.field("length").value = "steps"
    pretrain.form.field("steps").value = 7
    pretrain.form.field("more").value = "size_2d=[32,32] lr=0.1"
    assert pretrain.order().arguments == [
        *("pretrain", "--run", str(tmp_path / "run"), "--network", "tiny", "--preset", "auto"),
        *("--images", str(tmp_path / "images"), "--steps", "7"),
        *("--set", "size_2d=[32,32]", "--set", "lr=0.1"),
    ]
    finetune = open_dock("Fine-tune")
    finetune.form.field("dataset").value = tmp_path
    finetune.form.field("run").value = tmp_path / "tuned"
    assert finetune.order().arguments[4:6] == ["--init", "starter"]
    finetune.form.field("start").value = "model"
    finetune.form.field("model").value = tmp_path
    assert finetune.order().arguments == [
        *("finetune", str(tmp_path), "--task", "segmentation", "--init", str(tmp_path)),
        *("--minutes", "30", "--run", str(tmp_path / "tuned")),
    ]


def test_what_is_wrong_is_said_beside_the_field(open_dock, tmp_path):
    dock = open_dock("Pre-train")
    dock.start()
    assert "nothing to learn from" in dock.form.complaint("images")
    dock.form.field("volumes").add([tmp_path / "gone"])
    dock.start()
    assert "There is no" in dock.form.complaint("volumes")
    assert dock.form.complaint("images") == ""
    dock.form.field("volumes").value = [tmp_path]
    (tmp_path / "config.yaml").touch()
    dock.form.field("run").value = tmp_path
    dock.start()
    assert "already holds a run" in dock.form.complaint("run")
    dock.form.field("run").value = tmp_path / "config.yaml"
    dock.start()
    assert "is a file" in dock.form.complaint("run")
    dock.form.field("run").value = None
    dock.start()
    assert "Name a folder" in dock.form.complaint("run")
    dock.form.field("run").value = tmp_path / "run"
    dock.form.field("more").value = "steps 3"
    dock.start()
    assert "name=value" in dock.form.complaint("more")
    assert jobs.current() is None


def test_fine_tuning_needs_a_data_set_and_a_trained_model(open_dock, tmp_path):
    dock = open_dock("Fine-tune")
    dock.start()
    assert "Choose the folder" in dock.form.complaint("dataset")
    dock.form.field("dataset").value = tmp_path
    dock.form.field("start").value = "model"
    dock.start()
    assert "Choose the run folder" in dock.form.complaint("model")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    dock.form.field("model").value = tmp_path / "run"
    dock.start()
    assert "no checkpoint yet" in dock.form.complaint("model")


def test_network_is_asked_for_only_from_scratch(open_dock):
    form = open_dock("Fine-tune").form
    assert form.field("network").native.parentWidget().isHidden()
    assert form.field("model").parentWidget().isHidden()
    form.field("start").value = "model"
    assert not form.field("model").parentWidget().isHidden()
    form.field("start").value = "none"
    assert not form.field("network").native.parentWidget().isHidden()
    assert form.field("model").parentWidget().isHidden()


def test_prediction_follows_the_layers_that_are_open(open_dock, tmp_path):
    dock = open_dock("Predict")
    dock.start()
    assert "Open an image first" in dock.form.complaint("image")
    series = open_dock.viewer.add_image(np.zeros((2, 3, 4, 5)), name="series")
    dock.form.field("model").value = tmp_path
    dock.form.field("image").value = series
    dock.start()
    assert "4 axes" in dock.form.complaint("image")
    open_dock.viewer.layers.clear()
    assert dock.form.value("image") is None


def test_time_in_words():
    assert [in_words(s) for s in (3, 47, 600, 9000)] == [
        *("a few seconds", "about 45 s", "about 10 min", "about 2.5 h")
    ]


def test_long_trainings_keep_the_curve_light(qtbot):
    from napari_unimiss.widgets.plot import TrainingPlot

    plot = TrainingPlot()
    qtbot.addWidget(plot)
    plot.append({"step": step, "loss": 1.0} for step in range(1, 50_001))
    QApplication.processEvents()
    plot.append({"step": step, "loss": 1.0} for step in range(50_001, 50_101))
    shown, _ = plot.loss.points["loss"]
    assert len(shown) < 50_000
    assert shown[-1] >= 50_099


def test_losses_of_different_images_are_different_lines(qtbot):
    from napari_unimiss.widgets.plot import TrainingPlot

    plot = TrainingPlot()
    qtbot.addWidget(plot)
    plot.append([{"step": 1, "loss": 4.7, "loss_image_image": 4.7}])
    plot.append([{"step": 2, "loss": 20.0, "loss_volume_volume": 12.0, "loss_slices_slices": 8.0}])
    assert plot.loss.points == {"X-rays": ([1], [4.7]), "volumes": ([2], [20.0])}
