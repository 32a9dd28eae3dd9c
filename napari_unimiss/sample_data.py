"""Generated images for File > Open Sample; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_unimiss.layers import LayerData

_SEED = 1
_SPACING = (4.0, 2.0, 2.0)  # mm: fine enough to look at, made within a few seconds


def ct() -> list[LayerData]:
    """Make a torso as a CT shows it."""
    from napari_unimiss.layers import image_layers
    from unimiss import samples

    return image_layers(samples.torso(_SEED, spacing=_SPACING).image, "sample CT")


def radiograph() -> list[LayerData]:
    """Make a frontal chest X-ray."""
    from napari_unimiss.layers import image_layers
    from unimiss import samples

    return image_layers(samples.radiograph(_SEED), "sample X-ray")
