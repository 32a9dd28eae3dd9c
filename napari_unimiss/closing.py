"""What happens to a running job when the viewer is closed, by its window or by its menu."""

from __future__ import annotations

import time
from enum import Enum

from qtpy.QtCore import QEvent, QObject, Qt, QThread
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QProgressDialog, QWidget

from napari_unimiss import jobs


class Choice(Enum):
    """Answers to the question."""

    STOP = "Stop with a checkpoint"
    LEAVE = "Leave it running"
    STAY = "Do not close"


class CloseGuard(QObject):
    """Stands before a window's close event while a job of that window runs.

    Where nobody can answer (the window is hidden, or no event loop runs, as in scripts and tests), the job is
    stopped with a checkpoint.
    """

    def __init__(self, window: QMainWindow, job: jobs.Job) -> None:
        super().__init__(window)
        self._window = window
        self._job = job
        window.installEventFilter(self)
        job.ended.connect(self._retire)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: D102
        if event.type() != QEvent.Type.Close or not self._job.running:
            return False
        window = self._window
        attended = window.isVisible() and QThread.currentThread().loopLevel() > 0
        choice = ask(window, self._job) if attended and self._job.order.lasting else Choice.STOP
        if choice is Choice.STAY:
            event.ignore()
            if hasattr(
                window, "_quit_app"
            ):  # napari's note of a wish to quit; the next closing would obey it
                window._quit_app = False
            return True
        if choice is Choice.LEAVE:
            self._job.leave()
            wait_for_end(self._job, 5.0)
        else:
            self._job.stop()
            wait_for_end(self._job, jobs.GRACE, window if attended else None)
            self._job.end_now(0)
        return False

    def _retire(self) -> None:
        self._window.removeEventFilter(self)
        self.deleteLater()


def ask(window: QWidget, job: jobs.Job) -> Choice:
    """Ask what shall happen to `job`."""
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Close the viewer?")
    box.setText(f"{job.order.title} is still running.")
    box.setInformativeText(
        f"Its run folder is {job.order.run_folder}. "
        "Left running, it goes on without the viewer until it is finished."
    )
    roles = QMessageBox.ButtonRole
    buttons = {
        box.addButton(Choice.STOP.value, roles.AcceptRole): Choice.STOP,
        box.addButton(Choice.LEAVE.value, roles.DestructiveRole): Choice.LEAVE,
        box.addButton(Choice.STAY.value, roles.RejectRole): Choice.STAY,
    }
    box.setDefaultButton(next(iter(buttons)))
    box.exec()
    return buttons.get(box.clickedButton(), Choice.STAY)


def wait_for_end(job: jobs.Job, seconds: float, window: QWidget | None = None) -> None:
    """Let the viewer's events run until the job ended, at most `seconds`.

    In `window`, offer to end it at once.
    """
    dialog = None
    if window is not None:
        dialog = QProgressDialog("Writing the last checkpoint…", "End now without it", 0, 0, window)
        dialog.setWindowModality(Qt.WindowModality.ApplicationModal)
        dialog.setMinimumDuration(500)
    deadline = time.monotonic() + seconds
    while job.running and time.monotonic() < deadline and not (dialog and dialog.wasCanceled()):
        QApplication.processEvents()
        time.sleep(0.02)
    if dialog is not None:
        dialog.close()
