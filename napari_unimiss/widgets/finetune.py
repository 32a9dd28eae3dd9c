"""Fine-tune a network on the user's labelled cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Container, SpinBox

from napari_unimiss.jobs import Order
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.fields import PathField
from napari_unimiss.widgets.form import Form
from napari_unimiss.widgets.training import NETWORK_TIP, NETWORKS, TrainingDock

if TYPE_CHECKING:
    from napari.viewer import Viewer

_STARTS = [
    ("Bundled weights (starter)", "starter"),
    ("A model of your own", "model"),
    ("Nothing (from scratch)", "none"),
]
_TASKS = [("Segmentation", "segmentation"), ("Classification", "classification")]
_BUDGETS = [("minutes", "--minutes"), ("steps", "--steps")]


class FinetuneDock(TrainingDock):
    """Dock for training on labelled cases."""

    title = "Fine-tuning"
    task = "finetune"
    purpose = "Teaches a network your masks, or your classes, from a folder of images that already have them."
    button = "Start fine-tuning"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.form.field("start").changed.connect(self._show_start)
        self._show_start()

    def fill(self, form: Form) -> None:
        """Add the fields."""
        form.add(
            "dataset",
            "Data set",
            PathField(),
            "The folder with the images and their masks, or with a folder of images for each class. "
            "Some cases are kept aside to measure the result.",
        )
        form.add(
            "start",
            "Start from",
            ComboBox(choices=_STARTS, value="starter"),
            "A pre-trained model needs fewer labelled cases than a start from scratch.",
        )
        form.add(
            "model",
            "Model",
            PathField(files=True),
            "The run folder of a pre-training, or a checkpoint in it. Its weights are copied, never changed.",
        )
        form.add(
            "network",
            "Network",
            ComboBox(choices=NETWORKS, value="tiny"),
            NETWORK_TIP,
        )
        form.add(
            "task",
            "Task",
            ComboBox(choices=_TASKS),
            "Segmentation draws masks; classification says which class a whole image has.",
        )
        budget = Container(
            widgets=[
                SpinBox(name="amount", min=1, max=10_000_000, value=30),
                ComboBox(name="unit", choices=_BUDGETS, value="--minutes"),
            ],
            layout="horizontal",
            labels=False,
        )
        budget.margins = (0, 0, 0, 0)
        form.add(
            "budget",
            "Train for",
            budget,
            "How long to train. The schedule is fitted to this, so more is slower and better.",
        )
        self.add_run_fields(form)

    def new_order(self) -> Order:
        """Turn the fields into an order."""
        dataset = checks.folder_of_cases("dataset", self.form.value("dataset"))
        arguments = ["finetune", dataset, "--task", self.form.value("task")]
        start = self.form.value("start")
        if start == "none":
            arguments += ["--init", "none", "--network", self.form.value("network")]
        elif start == "starter":
            arguments += ["--init", "starter"]
        else:
            arguments += ["--init", checks.model("model", self.form.value("model"))]
        folder = checks.new_run_folder("run", self.form.value("run"))
        budget = self.form.field("budget")
        arguments += [budget["unit"].value, str(budget["amount"].value), "--run", str(folder)]
        arguments += checks.more_settings("more", self.form.value("more"))
        return Order(self.title, arguments, folder)

    def _show_start(self) -> None:
        self.form.show_row("model", self.form.value("start") == "model")
        self.form.show_row("network", self.form.value("start") == "none")
