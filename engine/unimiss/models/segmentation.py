"""MiT for segmentation: class scores for every pixel or voxel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.backbone import initialise
from unimiss.models.decoder import Decoder, cut
from unimiss.models.encoder import Encoder
from unimiss.models.presets import PRESETS, Network, Shape
from unimiss.models.switch import ConvBlock, convolution, up_convolution


class SegmentationNetwork(nn.Module):
    """Encoder and decoder without class token, a stem-level head, deep supervision.

    Parameters
    ----------
    network : str
        "tiny" or "small".
    channels, classes : int
        Input channels and output classes, background included.
    native : tuple of int
        Patch size; its length, 2 or 3, is the network's dimension.
    drop_path : float
        Stochastic depth of the encoder's last block.
    """

    def __init__(
        self, network: Network, channels: int, classes: int, native: Shape, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        d, preset = len(native), PRESETS[network]
        self.encoder = Encoder(preset, {d: channels}, {d: native}, class_token=False, drop_path=drop_path)
        self.decoder = Decoder(preset, {d: native}, class_token=False)
        self.up = up_convolution(d, preset.dims[0], preset.stem)
        self.fuse = ConvBlock(d, preset.stem, preset.stem, 3)
        self.head = convolution(d)(preset.stem, classes, 1)
        widths = (preset.stem, *preset.dims[:3])
        self.deep_heads = nn.ModuleList(convolution(d)(width, classes, 1) for width in widths)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Score images (B, channels, *shape).

        Returns
        -------
        Tensor, shape (B, classes, *shape)
            In evaluation mode.
        list of Tensor, each (B, classes, *grid)
            In training mode: full size first, then stem level and decoder stages, fine to coarse.
        """
        encoded = self.encoder(x)
        stages = self.decoder(encoded).stages
        fine = self.fuse(cut(self.up(stages[-1]), encoded.stem) + encoded.stem)
        mode = "bilinear" if x.ndim == 4 else "trilinear"
        # A 1x1 convolution and interpolation commute, so the few class maps are enlarged, not 32 channels.
        full: Tensor = F.interpolate(self.head(fine), size=x.shape[2:], mode=mode, align_corners=False)
        if not self.training:
            return full
        levels = [fine, *reversed(stages)]
        return [full, *(head(maps) for head, maps in zip(self.deep_heads, levels, strict=True))]
