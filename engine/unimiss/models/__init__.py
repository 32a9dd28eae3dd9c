"""MiT and the networks built on it."""

from unimiss.models.backbone import Backbone
from unimiss.models.presets import Network
from unimiss.models.segmentation import SegmentationNetwork

__all__ = ["Backbone", "SegmentationNetwork", "create"]


def create(network: Network) -> Backbone:
    """Build an untrained backbone with its published sizes.

    Parameters
    ----------
    network : "tiny" or "small"
        20.38 M or 43.94 M parameters, both dimensions.

    Returns
    -------
    Backbone
        ``backbone(x)`` gives (B, embed_dim) for (B, 3, height, width) or (B, 1, depth, height, width).
    """
    return Backbone(network)
