"""What all docks have in common: a form, a button, and the panel of the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unimiss import jobs
from napari_unimiss.children import Ending, Outcome
from napari_unimiss.closing import CloseGuard
from napari_unimiss.widgets.form import Form, Problem
from napari_unimiss.widgets.progress import JobPanel
from unimiss.errors import UnimissError

if TYPE_CHECKING:
    from napari.viewer import Viewer

NOTICE = "Research use only; not a medical device."
_WIDTH = 380


class JobDock(QWidget):
    """A dock that fills in a form and runs it as a job.

    Subclasses set the class attributes and implement `fill`, `order` and, if they use it, `receive`.
    """

    title: str
    purpose: str
    button: str
    curves = True

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form = Form()
        self.panel = JobPanel(self.curves)
        self.start_button = QPushButton(self.button)
        self.start_button.clicked.connect(self.start)
        purpose = QLabel(self.purpose)
        notice = QLabel(NOTICE)
        for label in (purpose, notice):
            label.setWordWrap(True)
        notice.setStyleSheet("color: gray;")

        inside = QWidget()
        column = QVBoxLayout(inside)
        for widget in (purpose, self.form, self.start_button, self.panel, notice):
            column.addWidget(widget)
        column.addStretch(1)
        area = QScrollArea()  # a small screen scrolls instead of squeezing
        area.setWidget(inside)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inside.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(_WIDTH)

        self.fill(self.form)
        running = jobs.current()
        if running is not None and running.order.title == self.title:  # the dock was closed meanwhile
            self._attach(running)

    def fill(self, form: Form) -> None:
        """Add the fields."""
        raise NotImplementedError

    def order(self) -> jobs.Order:
        """Turn the fields into an order, or raise `Problem` for the first one that cannot be used."""
        raise NotImplementedError

    def receive(self, result: Any) -> None:
        """Take what a finished job has collected, in the viewer's thread."""

    def renew(self) -> None:
        """Get the fields ready for the next job."""

    def start(self) -> None:
        """Check the fields and start the job; what is wrong is said beside its field."""
        self.form.clear_complaints()
        try:
            job = jobs.start(self.order())
        except Problem as problem:
            self.form.complain(problem)
            self.panel.say("Not started: see the field above.", Outcome.FAILED)
            return
        except UnimissError as error:
            self.panel.say(str(error), Outcome.FAILED)
            return
        self._attach(job)
        window = self._window()
        if window is not None:
            CloseGuard(window, job)
        job.begin()

    def _attach(self, job: jobs.Job) -> None:
        self.panel.follow(job)
        job.ended.connect(self._on_end)

    def _on_end(self, ending: Ending) -> None:
        self.renew()
        if ending.outcome is Outcome.FINISHED and ending.result is not None:
            try:
                self.receive(ending.result)
            except UnimissError as error:
                self.panel.say(str(error), Outcome.FAILED)

    def _window(self) -> QMainWindow | None:
        """Return the viewer's window; a floating dock is still its descendant."""
        widget: QWidget | None = self
        while widget is not None and not isinstance(widget, QMainWindow):
            widget = widget.parentWidget()
        return widget
