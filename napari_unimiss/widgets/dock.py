"""What all docks have in common: a form, a button, and the panel of the job."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

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

    Subclasses set the class attributes and implement `fill` and `order`.
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
        if running is not None:
            self._meet(running)

    def fill(self, form: Form) -> None:
        """Add the fields."""
        raise NotImplementedError

    def order(self) -> jobs.Order:
        """Turn the fields into an order, or raise `Problem` for the first one that cannot be used."""
        raise NotImplementedError

    def renew(self) -> None:
        """Get the fields ready for the next job."""

    def start(self) -> None:
        """Check the fields and start the job; what is wrong is said beside its field."""
        self.form.clear_complaints()
        try:
            jobs.refuse_if_busy()  # before anything is read or made for it
            job = jobs.start(self.order())
        except Problem as problem:
            self.form.complain(problem)
            self.panel.say("Not started: see the field above.", Outcome.FAILED)
            return
        except (UnimissError, OSError) as error:  # OSError: no temporary folder can be made
            self.panel.say(f"Not started: {error}", Outcome.FAILED)
            return
        except MemoryError:
            self.panel.say(f"Not started. {jobs.TOO_LARGE}", Outcome.FAILED)
            return
        job.viewer = weakref.ref(_bare(self.viewer))
        self._attach(job)
        window = self._window()
        if window is not None:
            CloseGuard(window, job)
        job.begin()

    def _meet(self, job: jobs.Job) -> None:
        """Show a job that was running before this dock was opened, or say where it is shown."""
        if job.viewer is None or job.viewer() is not _bare(self.viewer):
            self.panel.say(f"{job.order.title} is running in another window; one job runs at a time.")
        elif job.order.title == self.title:  # the dock was closed meanwhile
            self._attach(job)

    def _attach(self, job: jobs.Job) -> None:
        self.panel.follow(job)
        job.ended.connect(self._on_end)

    def _on_end(self, _: Ending) -> None:
        self.renew()

    def _window(self) -> QMainWindow | None:
        """Return the viewer's window; a floating dock is still its descendant."""
        widget: QWidget | None = self
        while widget is not None and not isinstance(widget, QMainWindow):
            widget = widget.parentWidget()
        return widget


def _bare(viewer: Viewer) -> Viewer:
    """Return the viewer itself; napari hands a proxy of it to some plugins."""
    return getattr(viewer, "__wrapped__", viewer)
