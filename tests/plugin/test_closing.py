import os
import time

import psutil
import pytest
from conftest import steps
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QProgressDialog

from napari_unimiss import closing, jobs
from napari_unimiss.children import Outcome
from napari_unimiss.closing import Choice
from unimiss.runs import Run, State

WAIT = 20_000


@pytest.fixture
def training(make_napari_viewer, qtbot, behave, tmp_path):
    """A viewer in which a training runs."""

    def start(behaviour: str = "long", **options):
        behave(behaviour)
        viewer = make_napari_viewer(**options)
        dock = viewer.window.add_plugin_dock_widget("napari-unimiss", "Pre-train")[1]
        dock.form.field("images").add([tmp_path])
        dock.form.field("run").value = tmp_path / "run"
        dock.start()
        job = dock.panel.job
        qtbot.waitUntil(lambda: steps(dock.panel) > 3, timeout=WAIT)
        return viewer, job

    return start


def test_closing_stops_with_a_checkpoint_where_nobody_can_answer(training, tmp_path):
    viewer, job = training()
    viewer.close()
    assert not psutil.pid_exists(job.child.process.pid)
    assert job.ending.outcome is Outcome.STOPPED
    assert Run(tmp_path / "run").state is State.STOPPED
    assert Run(tmp_path / "run").last.exists()


def test_a_child_that_does_not_obey_is_ended(training, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.5)
    viewer, job = training("deaf")
    viewer.close()
    assert not psutil.pid_exists(job.child.process.pid)


@pytest.fixture
def answer(monkeypatch):
    """Somebody who answers the question; returns the list of questions."""

    def choose(choice: Choice) -> list[jobs.Job]:
        asked = []

        def ask(window, job):
            asked.append(job)
            return choice

        monkeypatch.setattr(closing, "ask", ask)
        return asked

    return choose


def close_as_a_user(viewer, quit_app: bool = False) -> None:
    """Close from inside the event loop, as menus and window buttons do."""
    QTimer.singleShot(0, lambda: viewer.window._qt_window.close(quit_app=quit_app))


def until_closed(viewer, qtbot) -> None:
    gone = []
    viewer.window._qt_window.destroyed.connect(lambda: gone.append(True))
    qtbot.waitUntil(lambda: bool(gone), timeout=WAIT)
    del viewer.window._qt_window  # the fixture would close it once more


@pytest.mark.parametrize("quit_app", [False, True])
def test_the_user_may_stay(training, answer, qtbot, quit_app):
    viewer, job = training(show=True)
    asked = answer(Choice.STAY)
    close_as_a_user(viewer, quit_app)
    qtbot.waitUntil(lambda: bool(asked), timeout=WAIT)
    assert job.running
    assert viewer.window._qt_window.isVisible()
    assert not viewer.window._qt_window._quit_app  # else the next closing would end all viewers


def test_the_user_may_stop(training, answer, qtbot, tmp_path):
    viewer, job = training(show=True)
    asked = answer(Choice.STOP)
    close_as_a_user(viewer)
    until_closed(viewer, qtbot)
    assert asked == [job]
    assert not psutil.pid_exists(job.child.process.pid)
    assert Run(tmp_path / "run").last.exists()


def test_the_user_may_leave_it_running(training, answer, qtbot, tmp_path):
    viewer, job = training(show=True)
    answer(Choice.LEAVE)
    close_as_a_user(viewer)
    until_closed(viewer, qtbot)
    assert job.ending.outcome is Outcome.LEFT
    run = Run(tmp_path / "run")
    assert run.state is State.RUNNING
    run.stop()  # whoever comes back to the folder can still stop it
    qtbot.waitUntil(lambda: not psutil.pid_exists(job.child.process.pid), timeout=WAIT)


def test_waiting_for_the_checkpoint_can_be_cut_short(training, answer, qtbot):
    viewer, job = training("deaf", show=True)
    answer(Choice.STOP)

    def lose_patience() -> None:
        dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, QProgressDialog)]
        for dialog in dialogs:
            dialog.cancel()

    close_as_a_user(viewer)
    QTimer.singleShot(1000, lose_patience)
    begin = time.monotonic()
    until_closed(viewer, qtbot)
    assert time.monotonic() - begin < 10
    assert not psutil.pid_exists(job.child.process.pid)


@pytest.mark.parametrize("choice", list(Choice))
def test_the_question_names_every_choice(training, qtbot, choice):
    viewer, job = training(show=True)

    def press() -> None:
        (box,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]
        assert "Pre-training is still running" in box.text()
        if folder := os.environ.get("UNIMISS_SCREENSHOTS"):
            box.grab().save(f"{folder}/closing.png")
        next(button for button in box.buttons() if button.text() == choice.value).click()

    QTimer.singleShot(300, press)
    assert closing.ask(viewer.window._qt_window, job) is choice
