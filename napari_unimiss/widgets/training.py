"""What the two training docks share: the run folder and settings beyond the form."""

from __future__ import annotations

from magicgui.widgets import LineEdit

from napari_unimiss.widgets import checks
from napari_unimiss.widgets.dock import JobDock
from napari_unimiss.widgets.fields import PathField
from napari_unimiss.widgets.form import Form
from unimiss.runs import Run

NETWORKS = [("Tiny: fast, for a CPU too", "tiny"), ("Small: as published, for a GPU", "small")]
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
            "A new folder that receives the settings, the log and the trained weights.",
        )
        form.add(
            "more",
            "More",
            LineEdit(value=""),
            "Any other setting of the run's config.yaml as name=value, parted by spaces. Usually empty.",
        )

    def renew(self) -> None:
        """Suggest a new folder: the one in the field is taken now."""
        field = self.form.field("run")
        if field.value is not None and Run(field.value).exists():
            field.value = checks.suggested_run_folder(self.task, field.value.parent)
