"""MiT and the networks built on it."""

from unimiss.errors import InputError
from unimiss.models import released
from unimiss.models.backbone import Backbone
from unimiss.models.classification import ClassificationNetwork
from unimiss.models.presets import PRESETS, Network
from unimiss.models.segmentation import SegmentationNetwork

__all__ = ["Backbone", "ClassificationNetwork", "SegmentationNetwork", "create", "released"]


def create(network: Network) -> Backbone:
    """Build an untrained backbone with its published sizes.

    Parameters
    ----------
    network : "tiny", "small" or "plus"
        20.38 M, 43.94 M or 41.11 M parameters, both dimensions; "plus" with its reconstruction decoder.

    Returns
    -------
    Backbone
        ``backbone(x)`` gives (B, embed_dim) for (B, 3, height, width) or (B, 1, depth, height, width).

    Raises
    ------
    InputError
        There is no network of that name.
    """
    if network not in PRESETS:
        raise InputError(f"there is no network '{network}'; there are {', '.join(PRESETS)}")
    return Backbone(network, reconstruction=network == "plus")
