"""The only place where napari layers and engine images meet.

A layer's world is the engine's: millimetres in the order ``(z, y, x)`` towards the patient's head, back and
left. Positions are always taken from the layer's complete transformation, never from its scale alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unimiss.colours import SOFT_TISSUE, class_colour
from unimiss.errors import InputError
from unimiss.geometry import Geometry, Units
from unimiss.io import Image, Provenance

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

LayerData = tuple[Any, dict[str, Any], str]

_AXES = ("z", "y", "x")
_MOST_LAYERS = 4  # channels that open as a layer each; napari takes seconds to add dozens
_MOST_CLASSES = 255
_OPEN_WITH_US = "If that is wrong, open the file with UniMiSS."
_UNNAMED = (0.6, 0.6, 0.6, 1.0)  # of mask values that have no name
_CLEAR = (0.0, 0.0, 0.0, 0.0)
_AIR = -500.0  # only CT has values so far below water


def image_layers(image: Image, name: str, path: Path | None = None) -> list[LayerData]:
    """Layer data of an image.

    One layer, or one for each of a few channels. More channels are one layer with a slider, colour pictures
    one RGB layer.
    """
    common = _placement(image.geometry) | {"metadata": _metadata(path, image.labels)}
    array = image.array
    if image.geometry.ndim == 2 and image.channels == 3 and array.dtype == np.uint8:
        return [
            (np.ascontiguousarray(np.moveaxis(array, 0, -1)), {"name": name, "rgb": True, **common}, "image")
        ]
    if image.channels > _MOST_LAYERS:
        options = {"name": name, "contrast_limits": _display_window(array[0]), **common}
        return [(array, options | _stacked(image.geometry), "image")]
    names = [name] if image.channels == 1 else [f"{name} [{i + 1}]" for i in range(image.channels)]
    return [
        (channel, {"name": title, "contrast_limits": _display_window(channel), **common}, "image")
        for title, channel in zip(names, array, strict=True)
    ]


def mask_layers(mask: Image, name: str, path: Path | None = None) -> list[LayerData]:
    """Layer data of a mask that stands on its own: one layer or, of classes that overlap, one for each.

    Raises
    ------
    InputError
        It has several channels that are no classes by their names and values.
    """
    place = _placement(mask.geometry)
    return [
        (array, {"name": title, **place, **_class_options(mask.labels, path)}, "labels")
        for title, array in _class_arrays(mask, mask.array, name)
    ]


@dataclass(frozen=True)
class Placement:
    """Where a layer lay at one moment.

    Attributes
    ----------
    geometry : Geometry
        Its grid, in its own array order.
    options : dict
        The transformation, as options of a new layer.
    """

    geometry: Geometry
    options: dict[str, Any]


def placement_of(layer: Layer) -> Placement:
    """Return where a layer lies now; later changes of the layer do not change it.

    Raises
    ------
    InputError
        The layer is neither a volume nor a flat picture.
    """
    options = {
        "scale": np.array(layer.scale),
        "translate": np.array(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine),
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }
    return Placement(geometry_of(layer), options)


def mask_layer_for(layer: Layer, mask: Image, name: str | None = None) -> Labels:
    """Make a Labels layer that lies exactly on `layer`, in its own array order, from a mask of one channel.

    Parameters
    ----------
    layer : napari layer
        The image that the mask belongs to.
    mask : Image
        A mask whose source order (`Image.in_file_order`) is the layer's array order.
    name : str, optional
        Name of the new layer.

    Raises
    ------
    InputError
        The mask lies on another grid.
    """
    place = placement_of(layer)
    (made,) = mask_layers_at(place, place, mask, layer.name, name)
    return made


def mask_layers_at(
    made_for: Placement, place: Placement, mask: Image, of: str, name: str | None = None
) -> list[Labels]:
    """Make Labels layers at `place` from a mask that was made for a layer which lay at `made_for`.

    There is one layer or, of classes that overlap, one for each, for a layer holds one number a voxel.

    Parameters
    ----------
    made_for : Placement
        Of the layer when its image was taken; the mask must lie there.
    place : Placement
        Where the mask goes.
    mask : Image
        A mask whose source order (`Image.in_file_order`) is the layer's array order.
    of : str
        Name of the layer.
    name : str, optional
        Name of the new layer; of several each also has the name of its class.

    Raises
    ------
    InputError
        The mask lies on another grid, or has several channels that are no classes.
    """
    from napari.layers import Labels

    array, found = mask.in_file_order()
    wanted = made_for.geometry
    if wanted.ndim == 2:  # files of flat pictures hold a shape and no position
        same = wanted.shape == found.shape
        difference = None if same else f"its shape is {found.shape}, not {wanted.shape}"
    else:
        difference = wanted.difference(found)
    if difference is not None:
        raise InputError(f"the mask does not lie on the layer {of}: {difference}")
    options = {**place.options, **_class_options(mask.labels, None)}
    named = _class_arrays(mask, array, name or f"{of} mask")
    return [Labels(numbers, name=title, **options) for title, numbers in named]


def to_image(layer: Layer) -> Image:
    """Return a layer's image in anatomical order; `Image.in_file_order` leads back to the layer's own order.

    Raises
    ------
    InputError
        The layer is neither a volume nor a flat picture.
    """
    return as_image(np.asarray(data_of(layer)), geometry_of(layer), getattr(layer, "rgb", False))


def data_of(layer: Layer) -> Any:
    """Return the pixels of a layer, unread where they are lazy; the finest ones of a pyramid."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def as_image(array: NDArray[Any], stored: Geometry, rgb: bool) -> Image:
    """Return a layer's pixels, lying at `stored`, as an image in anatomical order."""
    channels = np.moveaxis(array[..., :3], -1, 0) if rgb else array[None]
    change = stored.to_anatomical()
    source = Provenance(path=None, format="layer", reorientation=change, header=None)
    return Image(change.apply(channels), stored.reoriented(change), source)


def geometry_of(layer: Layer) -> Geometry:
    """Grid of a layer in its own array order, from its complete data-to-world transformation.

    Raises
    ------
    InputError
        The layer has not two or three axes, or its units are no lengths.
    """
    n = layer.ndim
    if n not in (2, 3):
        raise InputError(
            f"the layer {layer.name} has {n} axes; a volume has 3 and a radiograph 2. "
            "Choose one time point or channel first (right-click the layer, Split Stack)"
        )
    factors, units = _world_units(layer)
    origin = np.asarray(layer.data_to_world([0.0] * n), dtype=float)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis, step in enumerate(np.eye(n)):
        matrix[:n, axis] = np.asarray(layer.data_to_world(step), dtype=float) - origin
    matrix[:n] *= factors[:, None]
    return Geometry(tuple(data_of(layer).shape[:n]), matrix, units)


def assumption(layer: Layer) -> str:
    """Say what is taken for granted about a volume that does not tell it itself; "" where nothing is."""
    if layer.ndim != 3:
        return ""
    axes = "its axes were taken as head, back, left"
    voxels = f"voxels of {' x '.join(f'{step:.3g}' for step in geometry_of(layer).spacing)} mm"
    # not units alone: other readers give millimetres with the axes of the file
    placed = "unimiss" in layer.metadata or tuple(layer.axis_labels) == _AXES
    sized = knows_its_size(layer)
    if placed and sized:
        return ""
    if placed:
        return f"The layer does not say how large its voxels are: {voxels} were assumed. {_OPEN_WITH_US}"
    with_voxels = "" if sized else f" with {voxels}"
    return f"The layer does not say how it lies in the patient: {axes}{with_voxels}. {_OPEN_WITH_US}"


def knows_its_size(layer: Layer) -> bool:
    """Whether the layer says how large its voxels are."""
    return _world_units(layer)[1] == "mm"


def _world_units(layer: Layer) -> tuple[NDArray[np.float64], Units]:
    """For each world axis, millimetres for its unit; 1 where the unit is the pixel."""
    lengths = [unit.is_compatible_with("mm") for unit in layer.units]
    if all(lengths):
        return np.array([(1 * unit).to("mm").magnitude for unit in layer.units], dtype=float), "mm"
    if all(str(unit) == "pixel" for unit in layer.units):
        return np.ones(layer.ndim), "pixel"
    found = ", ".join(str(unit) for unit in layer.units)
    raise InputError(
        f"the units of the layer {layer.name} are {found}; an image is measured in lengths throughout"
    )


def _placement(geometry: Geometry) -> dict[str, Any]:
    """Options that put a layer where the geometry says; others may look for the spacing in `scale`."""
    scale = np.array(geometry.spacing)
    return {
        "scale": scale,
        "affine": geometry.matrix @ np.diag([*(1 / scale), 1.0]),
        "units": geometry.units,
        "axis_labels": _AXES[-geometry.ndim :],
    }


def _stacked(geometry: Geometry) -> dict[str, Any]:
    """Options that place a stack of images which all lie at `geometry`, one behind the other."""
    inside = _placement(geometry)
    affine = np.eye(geometry.ndim + 2)
    affine[1:, 1:] = inside["affine"]
    return {
        "scale": np.array([1.0, *inside["scale"]]),
        "affine": affine,
        # napari drops all units where they are of different kinds
        "units": (geometry.units,) * (geometry.ndim + 1),
        "axis_labels": ("c", *inside["axis_labels"]),
    }


def _metadata(path: Path | None, labels: Mapping[int, str]) -> dict[str, Any]:
    return {"unimiss": {"path": None if path is None else str(path), "labels": dict(labels)}}


def _class_options(labels: Mapping[int, str], path: Path | None) -> dict[str, Any]:
    """Names and colours of a mask's classes, as napari shows them in its status bar and on the canvas."""
    if not labels:
        return {"metadata": _metadata(path, labels)}
    from napari.utils.colormaps import DirectLabelColormap

    names = {0: "background", **labels}
    classes = [value for value in sorted(names) if value != 0]
    colours: dict[int | None, tuple[float, ...]] = {None: _UNNAMED, 0: _CLEAR}
    for place, value in enumerate(classes, start=1):
        colours[value] = (*(part / 255 for part in class_colour(place)), 1.0)
    return {
        "features": {"index": list(names), "class": list(names.values())},
        "colormap": DirectLabelColormap(color_dict=colours),
        "metadata": _metadata(path, labels),
    }


def _class_arrays(mask: Image, array: NDArray[Any], name: str) -> list[tuple[str, NDArray[Any]]]:
    """Title and numbers of each layer of a mask, whose `array` is in the order that is shown.

    Of classes that overlap each is numbered by its channel, so that its name and colour are its own.
    """
    if len(array) == 1:
        return [(name, _whole_numbers(array[0]))]
    if not are_classes(mask):
        raise InputError(
            f"{name} has {len(array)} channels, which are no classes: a mask has one channel, "
            "or one of 0 and 1 for each class that it names"
        )
    return [
        (f"{name}: {mask.labels[number]}", (plane > 0).astype(np.uint8) * np.uint8(number))
        for number, plane in enumerate(array, start=1)
    ]


def are_classes(image: Image) -> bool:
    """Whether the channels of an image are classes that overlap: each is named, and holds 0 and 1 alone."""
    named = {value for value in image.labels if value} == set(range(1, image.channels + 1))
    return named and image.channels <= _MOST_CLASSES and bool(np.isin(image.array, (0, 1)).all())


def _whole_numbers(array: NDArray[Any]) -> NDArray[Any]:
    """Mask values as integers, which Labels layers need."""
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.integer):
        return array.astype(np.uint8 if array.size == 0 or float(array.max()) <= 255 else np.int32)
    return array


def _display_window(channel: NDArray[Any]) -> tuple[float, float]:
    """Contrast limits: soft tissue for CT, else the range of the values without their outer half percents."""
    sample = channel[tuple(slice(None, None, max(1, size // 64)) for size in channel.shape)]
    finite = sample[np.isfinite(sample)]
    if finite.size == 0:
        return 0.0, 1.0
    if channel.ndim == 3 and finite.min() <= _AIR:
        return SOFT_TISSUE
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)
