"""Open napari on an image and its mask: ``python -m napari_unimiss.show IMAGE MASK [--picture FILE]``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_unimiss.layers import image_layers, mask_layers
from napari_unimiss.reader import class_names
from unimiss.errors import UnimissError
from unimiss.io import read


def show(image: Path, mask: Path, picture: Path | None) -> None:
    """Show a mask on its image, at the slice that holds most of it.

    Parameters
    ----------
    image, mask : Path
        Files on the same grid.
    picture : Path or None
        Save the window as PNG and close, instead of waiting for the user.
    """
    import napari
    from napari.layers import Layer

    viewer = napari.Viewer(title=f"{image.name}: predicted. Research use only; not a medical device")
    for data in image_layers(read(image), image.name, image):
        viewer.add_layer(Layer.create(*data))
    found = read(mask)
    named = replace(found, labels=class_names(mask, found))
    masks = [Layer.create(*data) for data in mask_layers(named, f"{mask.name} mask", mask)]
    for labels in masks:
        viewer.add_layer(labels).opacity = 0.5
    if viewer.dims.ndim == 3:
        fullest = int(np.argmax(sum((labels.data > 0).sum(axis=(1, 2)) for labels in masks)))
        viewer.dims.set_point(0, float(masks[0].data_to_world((fullest, 0, 0))[0]))
    viewer.fit_to_view()
    if picture is None:
        napari.run()
        return
    viewer.window.screenshot(str(picture), flash=False)
    viewer.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="napari_unimiss.show", description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--picture", type=Path, help="save the window here and close")
    given = parser.parse_args()
    try:
        show(given.image, given.mask, given.picture)
    except UnimissError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
