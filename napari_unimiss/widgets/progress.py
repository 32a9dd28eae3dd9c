"""The part of a dock that shows its job: bar, time left, curves, log, Stop."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_unimiss.children import Ending, Outcome
from napari_unimiss.jobs import Job
from napari_unimiss.widgets.plot import TrainingPlot

_FINE = 1000  # steps of the bar
_PATIENCE = 15_000  # ms after Stop before a forced end is offered
_LOG_LINES = 500
_LOG_HEIGHT = 90
_AMBER = "#f5a623"
_COLOURS = {Outcome.FINISHED: "#35c49b", Outcome.STOPPED: _AMBER, Outcome.FAILED: "#ff7b72"}


def in_words(seconds: float) -> str:
    """Return a length of time as people say it."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5:.0f} s"
    if seconds < 5400:
        return f"about {round(seconds / 60):.0f} min"
    return f"about {seconds / 3600:.1f} h"


class JobPanel(QWidget):
    """Follows one job after another.

    Parameters
    ----------
    curves : bool
        Whether the jobs have a loss to plot.
    """

    def __init__(self, curves: bool) -> None:
        super().__init__()
        self._job: Job | None = None
        self._began = 0.0
        self.bar = QProgressBar()
        self.bar.setRange(0, _FINE)
        self.stop_button = QPushButton("Stop")
        self.stop_button.clicked.connect(self._on_stop)
        self.stage = QLabel()
        self.stage.setWordWrap(True)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.hide()
        self.plot = TrainingPlot() if curves else None
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_LOG_LINES)
        self.log.setFixedHeight(_LOG_HEIGHT)
        self.log.setPlaceholderText("What the job reports appears here.")
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE)
        self._patience.timeout.connect(self._offer_kill)

        self._live = QWidget()  # hidden until there is a job to show
        self._live.hide()
        top = QHBoxLayout()
        top.addWidget(self.bar, 1)
        top.addWidget(self.stop_button)
        live = QVBoxLayout(self._live)
        live.setContentsMargins(0, 0, 0, 0)
        live.setSpacing(4)
        live.addLayout(top)
        live.addWidget(self.stage)
        if self.plot is not None:
            live.addWidget(self.plot)
        live.addWidget(self.log)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.status)
        layout.addWidget(self._live)
        self._show_idle()

    @property
    def job(self) -> Job | None:
        """The job that is shown, running or ended."""
        return self._job

    def follow(self, job: Job) -> None:
        """Show `job` from now on."""
        self._job = job
        self._live.show()
        self._began = time.monotonic()
        self.log.clear()
        if self.plot is not None:
            self.plot.clear()
            job.metrics.connect(self.plot.append)
        job.progress.connect(self._on_progress)
        job.log.connect(self.log.appendPlainText)
        job.ended.connect(self._on_end)
        self.say(job.order.note, doubtful=True)
        self.bar.setRange(0, 0)
        self._show_stage("Starting; loading the program takes some seconds…")
        self.stop_button.setText("Stop")
        self.stop_button.setToolTip(
            "Writes a checkpoint and ends the job; what it learned is kept."
            if job.order.lasting
            else "Ends the job; nothing is changed."
        )
        self.stop_button.setEnabled(True)

    def say(self, sentence: str, outcome: Outcome | None = None, doubtful: bool = False) -> None:
        """Show a sentence above the bar, in the colour of its outcome or, where it is doubtful, in amber."""
        colour = _AMBER if doubtful else _COLOURS.get(outcome) if outcome else None
        self.status.setText(sentence)
        self.status.setStyleSheet(f"color: {colour};" if colour else "")
        self.status.setVisible(bool(sentence))

    def _on_progress(self, event: dict[str, Any]) -> None:
        done = min(1.0, max(0.0, float(event.get("done", 0.0))))
        self.bar.setRange(0, _FINE)
        self.bar.setValue(round(done * _FINE))
        parts = [str(event["stage"]).capitalize()] if event.get("stage") else []
        if event.get("step") is not None and event.get("steps"):
            parts.append(f"step {event['step']} of {event['steps']}")
        left = event.get("remaining_s")
        if left is None and done > 0.02:
            left = (time.monotonic() - self._began) * (1 - done) / done
        if left is not None and done < 1:
            parts.append(f"{in_words(float(left))} left")
        self._show_stage(", ".join(parts))

    def _on_end(self, ending: Ending) -> None:
        self._patience.stop()
        self._show_idle()
        if ending.outcome is Outcome.FINISHED:
            self.bar.setValue(_FINE)
        self.say(ending.message, ending.outcome, ending.doubtful)

    def _show_stage(self, text: str) -> None:
        self.stage.setText(text)
        self.stage.setVisible(bool(text))

    def _on_stop(self) -> None:
        if self._job is None or not self._job.running:
            return
        if self.stop_button.text() == "End now":
            self._job.kill()
            return
        self._job.stop()
        self.stop_button.setEnabled(False)
        self.stop_button.setText("Stopping…")
        self._patience.start()

    def _offer_kill(self) -> None:
        self.stop_button.setText("End now")
        self.stop_button.setToolTip(
            "Ends the process at once; what it did since its last checkpoint is lost."
        )
        self.stop_button.setEnabled(True)

    def _show_idle(self) -> None:
        self.bar.setRange(0, _FINE)
        self.bar.setValue(0)
        self._show_stage("")
        self.stop_button.setText("Stop")
        self.stop_button.setEnabled(False)
