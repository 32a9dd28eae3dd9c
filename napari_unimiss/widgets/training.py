"""What the two training docks share: the run folder and settings beyond the form."""

from __future__ import annotations

from contextlib import suppress

from magicgui.widgets import LineEdit

from napari_unimiss.jobs import Order
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.dock import JobDock
from napari_unimiss.widgets.fields import PathField
from napari_unimiss.widgets.form import Form
from unimiss.runs import Run

NETWORKS = [
    ("Tiny: fast, for a CPU too", "tiny"),
    ("Small: as published, for a GPU", "small"),
    ("Plus: MiT+ of UniMiSS+, for a GPU", "plus"),
]
NETWORK_TIP = "A larger network can learn more and needs more memory and time."


class TrainingDock(JobDock):
    """Dock whose jobs write a run folder that is kept."""

    task: str

    def add_run_fields(self, form: Form) -> None:
        """Add the fields of the run folder and of further settings."""
        form.add(
            "run",
            "Run folder",
            PathField(value=checks.suggested_run_folder(self.task)),
            "A new folder that receives the settings, the log and the trained weights; "
            "or the folder of a stopped run, to go on with it.",
        )
        form.add(
            "more",
            "More",
            LineEdit(value=""),
            "Any other setting of the run's config.yaml as name=value, parted by spaces. Usually empty.",
        )
        form.field("run").changed.connect(self._show_action)

    def order(self) -> Order:
        """Turn the fields into an order for a new run, or for what is left of the one in the run folder."""
        folder = checks.interrupted_run(self.form.value("run"), self.task)
        if folder is None:
            return self.new_order()
        return Order(self.title, [self.task, "--run", str(folder), "--resume"], folder)

    def new_order(self) -> Order:
        """Turn the fields into an order for a new run, as `order` does."""
        raise NotImplementedError

    def renew(self) -> None:
        """Suggest a new folder: the one in the field is taken now."""
        field = self.form.field("run")
        with suppress(OSError, RuntimeError, ValueError):  # what was typed meanwhile may be no path
            written = field.value
            if written is not None and Run(written.expanduser()).exists():
                field.value = checks.suggested_run_folder(self.task, written.parent)

    def _show_action(self) -> None:
        left = checks.interrupted_run(self.form.value("run"), self.task)
        self.start_button.setText("Resume" if left else self.button)
        self.start_button.setToolTip(
            "Goes on with the run in this folder, with the settings that it began with." if left else ""
        )
