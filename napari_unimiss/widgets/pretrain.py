"""Pre-train a backbone on unlabelled radiographs and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, SpinBox

from napari_unimiss.jobs import Order
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.fields import PathsField
from napari_unimiss.widgets.form import Form, Problem
from napari_unimiss.widgets.training import NETWORK_TIP, NETWORKS, TrainingDock

if TYPE_CHECKING:
    from napari.viewer import Viewer

_FLAT = "Radiographs (*.png *.jpg *.jpeg *.nii *.nii.gz *.nrrd *.mha)"
_VOLUMES = "Volumes (*.nii *.nii.gz *.nrrd *.mha)"
_PRESETS = [
    ("Fitted to this machine", "auto"),
    ("As published (large GPUs)", "paper"),
    ("Demonstration (minutes)", "demo"),
]
_LENGTHS = [("As the settings say", "auto"), ("A number of steps", "steps")]


class PretrainDock(TrainingDock):
    """Dock for self-supervised training on the user's own images."""

    title = "Pre-training"
    task = "pretrain"
    purpose = (
        "Trains a backbone on unlabelled X-rays and CT or MR volumes together. "
        "Your images stay on this machine."
    )
    button = "Start pre-training"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.form.field("length").changed.connect(self._show_steps)
        self._show_steps()

    def fill(self, form: Form) -> None:
        """Add the fields."""
        form.add(
            "images",
            "X-rays",
            PathsField(_FLAT),
            "Flat images to learn from. X-rays, volumes or both: together they teach more than either alone.",
        )
        form.add("volumes", "Volumes", PathsField(_VOLUMES), "CT or MR volumes to learn from.")
        form.add(
            "network",
            "Network",
            ComboBox(choices=NETWORKS, value="tiny"),
            NETWORK_TIP,
        )
        form.add(
            "preset",
            "Settings",
            ComboBox(choices=_PRESETS, value="auto"),
            "Chooses batch size, image size and schedule together.",
        )
        form.add(
            "length",
            "Length",
            ComboBox(choices=_LENGTHS, value="auto"),
            "How long to train. You can stop at any time and keep what was learned.",
        )
        form.add(
            "steps",
            "Steps",
            SpinBox(min=1, max=10_000_000, value=1000, step=100),
            "One step learns from one batch of images.",
        )
        self.add_run_fields(form)

    def new_order(self) -> Order:
        """Turn the fields into an order."""
        images = checks.existing("images", self.form.value("images"))
        volumes = checks.existing("volumes", self.form.value("volumes"))
        if not images and not volumes:
            raise Problem(
                "images", "Add X-rays here, or volumes below, or both: there is nothing to learn from yet."
            )
        folder = checks.new_run_folder("run", self.form.value("run"))
        arguments = ["pretrain", "--run", str(folder)]
        arguments += ["--network", self.form.value("network"), "--preset", self.form.value("preset")]
        for path in images:
            arguments += ["--images", path]
        for path in volumes:
            arguments += ["--volumes", path]
        if self.form.value("length") == "steps":
            arguments += ["--steps", str(self.form.value("steps"))]
        arguments += checks.more_settings("more", self.form.value("more"))
        return Order(self.title, arguments, folder)

    def _show_steps(self) -> None:
        self.form.show_row("steps", self.form.value("length") == "steps")
