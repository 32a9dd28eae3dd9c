"""Draw the mask of an image layer with a trained model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from magicgui.widgets import create_widget
from napari.layers import Image as ImageLayer

from napari_unimiss import layers
from napari_unimiss.jobs import Order
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.dock import JobDock
from napari_unimiss.widgets.fields import PathField
from napari_unimiss.widgets.form import Form, Problem
from unimiss.errors import InputError
from unimiss.io import Image, read, write


class PredictDock(JobDock):
    """Dock that turns an image layer and a model into a Labels layer."""

    title = "Prediction"
    purpose = "Draws a mask on an image with a model that you fine-tuned."
    button = "Predict"
    curves = False

    def reset_choices(self, *_: object) -> None:
        """Offer the layers that are open now; napari calls this whenever they change."""
        self.form.field("image").reset_choices()

    def fill(self, form: Form) -> None:
        """Add the fields."""
        form.add(
            "image",
            "Image",
            create_widget(annotation=ImageLayer, name="image"),
            "The layer to segment. It is not changed; the mask becomes a new layer on top.",
        )
        form.add(
            "model",
            "Model",
            PathField(files=True),
            "The run folder of a fine-tuning, or a checkpoint in it.",
        )

    def order(self) -> Order:
        """Turn the fields into an order; the layer travels as a file in a folder that is removed."""
        layer = self.form.value("image")
        if layer is None:
            raise Problem("image", "Open an image first, then choose it here.")
        try:
            image = layers.to_image(layer)
        except InputError as error:
            raise Problem("image", str(error)) from error
        model = checks.model("model", self.form.value("model"))
        scratch = TemporaryDirectory(prefix="unimiss-", ignore_cleanup_errors=True)
        folder = Path(scratch.name)
        # NIfTI holds every position in space, sheared ones included; flat pictures need MHA to keep colours
        source = folder / ("image.nii" if image.geometry.ndim == 3 else "image.mha")
        output = folder / "masks"
        return Order(
            self.title,
            ["predict", model, str(source), "--output", str(output), "--run", str(folder / "run")],
            folder / "run",
            lasting=False,
            prepare=lambda: write(image, source),
            collect=lambda: (layer, _mask(output / source.name)),
            aliases={str(source): f"The layer {layer.name}", source.name: layer.name},
            finished=f"Finished: the mask lies on {layer.name}.",
            scratch=scratch,
        )

    def receive(self, result: tuple[ImageLayer, Image]) -> None:
        """Lay the mask on its image."""
        layer, mask = result
        if layer not in self.viewer.layers:
            raise InputError("The image was closed before its mask was ready; open it and predict again.")
        self.viewer.add_layer(layers.mask_layer_for(layer, mask))
        if not layers.knows_its_size(layer):
            self.panel.log.appendPlainText(
                "The image does not say how large it is; a pixel was taken as 1 mm."
            )


def _mask(path: Path) -> Image:
    """Read a predicted mask with the names of its classes, wholly into memory: its file is about to go."""
    mask = read(path)
    try:
        names = json.loads((path.parent / "labels.json").read_text(encoding="utf-8"))
    except OSError:
        names = {}
    return replace(
        mask, array=mask.array.copy(), labels={int(value): str(name) for value, name in names.items()}
    )
