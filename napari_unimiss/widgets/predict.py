"""Draw the mask of an image layer, or name its class, with a trained model."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from magicgui.widgets import create_widget
from napari.layers import Image as ImageLayer

from napari_unimiss import layers
from napari_unimiss.children import Ending, Outcome
from napari_unimiss.jobs import Order
from napari_unimiss.layers import Placement
from napari_unimiss.widgets import checks
from napari_unimiss.widgets.dock import JobDock
from napari_unimiss.widgets.fields import PathField
from napari_unimiss.widgets.form import Form, Problem
from unimiss.errors import InputError
from unimiss.io import Image, read, write

_MOST_CLASSES = 5  # that are shown
Classes = dict[str, float]


class PredictDock(JobDock):
    """Dock that turns an image layer and a model into Labels layers, or into probabilities of classes."""

    title = "Prediction"
    purpose = "Draws a mask on an image, or names its class, with a model that you fine-tuned."
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
            "The layer to look at. It is not changed; a mask becomes a new layer on top.",
        )
        form.add(
            "model",
            "Model",
            PathField(files=True),
            "Run folder of a fine-tuning, or a checkpoint in it; or a folder of runs, which decide together.",
        )

    def order(self) -> Order:
        """Turn the fields into an order; the layer travels as a file in a folder that is removed."""
        layer = self.form.value("image")
        if layer is None:
            raise Problem("image", "Open an image first, then choose it here.")
        model = checks.model("model", self.form.value("model"))
        try:
            place = layers.placement_of(layer)
            note = layers.assumption(layer)
        except InputError as error:
            raise Problem("image", str(error)) from error
        name, data, rgb = layer.name, layers.data_of(layer), layer.rgb
        scratch = TemporaryDirectory(prefix="unimiss-", ignore_cleanup_errors=True)
        folder = Path(scratch.name)
        # NIfTI holds every position in space, sheared ones included; flat pictures need MHA to keep colours
        source = folder / ("image.nii" if place.geometry.ndim == 3 else "image.mha")
        output = folder / "predicted"

        def deliver(result: Image | Classes) -> Ending:
            if isinstance(result, dict):
                said = f"Finished: {_in_words(result)}. {note}".rstrip()
                return Ending(Outcome.FINISHED, said, doubtful=bool(note))
            now = _placement_now(layer, place)
            made = layers.mask_layers_at(place, now, result, name)
            for mask in made:
                self.viewer.add_layer(mask)
            unsized = place.geometry.ndim == 2 and place.geometry.units == "pixel"
            size = "The image does not say how large it is; a pixel was taken as 1 mm." if unsized else ""
            what = "the mask lies" if len(made) == 1 else f"masks of {len(made)} classes lie"
            said = f"Finished: {what} on {name}. {note}{size}".rstrip()
            return Ending(Outcome.FINISHED, said, doubtful=bool(note))

        return Order(
            self.title,
            ["predict", model, str(source), "--output", str(output), "--run", str(folder / "run")],
            folder / "run",
            lasting=False,
            prepare=lambda: write(_copied(data, place, rgb, name), source),
            collect=lambda: _result(output, source.name),
            deliver=deliver,
            aliases={str(source): f"The layer {name}", source.name: name},
            note=note,
            scratch=scratch,
        )


def _copied(data: Any, place: Placement, rgb: bool, name: str) -> Image:
    """Read a layer's pixels, with a copy of those in memory: the user may go on editing them."""
    try:
        array = np.array(data)
    except MemoryError:
        raise
    except Exception as error:  # lazy data may raise anything
        raise InputError(f"The layer {name} cannot be read ({type(error).__name__}: {error}).") from error
    if array.shape[: place.geometry.ndim] != place.geometry.shape:
        raise InputError(f"The layer {name} cannot be read: its shape has changed.")
    return layers.as_image(array, place.geometry, rgb)


def _placement_now(layer: ImageLayer, before: Placement) -> Placement:
    """Return where the layer lies, or where it lay if its grid is another one now."""
    try:
        now = layers.placement_of(layer)
    except InputError:
        return before
    return now if now.geometry.shape == before.geometry.shape else before


def _result(output: Path, name: str) -> Image | Classes:
    """Read the table that a model wrote which classifies, or the mask of another."""
    table = next(output.glob("*.csv"), None)
    return _mask(output / name) if table is None else _classes(table)


def _classes(table: Path) -> Classes:
    """Read the probability of each class from a table of one image."""
    with open(table, newline="", encoding="utf-8") as file:
        header, row = csv.reader(file)
    return {name: float(value) for name, value in zip(header[2:], row[2:], strict=True)}


def _in_words(classes: Classes) -> str:
    """Say the probabilities, the likeliest class first."""
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    shown = [f"{name} {probability:.0%}" for name, probability in ordered[:_MOST_CLASSES]]
    more = f" and {len(ordered) - _MOST_CLASSES} more" if len(ordered) > _MOST_CLASSES else ""
    return f"{', '.join(shown)}{more}"


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
