"""MiT for segmentation: class scores for every pixel or voxel."""

from __future__ import annotations

from torch import Tensor, nn

from unimiss.models.backbone import initialise
from unimiss.models.convolution import convolution
from unimiss.models.decoder import Decoder, StemDecoder
from unimiss.models.encoder import Encoder
from unimiss.models.presets import PRESETS, Network, Shape
from unimiss.models.switch import enlarge


class SegmentationNetwork(nn.Module):
    """Encoder and decoder without class token, the stem's levels, a 1x1 convolution; deep supervision.

    Parameters
    ----------
    network : "tiny", "small" or "plus"
        Size of MiT; "plus" is MiT+.
    channels, classes : int
        Input channels and output classes, background included unless they overlap.
    native : tuple of int
        Patch size; its length, 2 or 3, is the network's dimension.
    deep_supervision : bool
        Whether coarser levels are scored too.
    rereads_coarsest : bool
        Whether the decoder takes the memory of the coarsest maps (B, C, *grid) for tokens (B, prod(grid), C),
        which mixes places with channels. A defect of the release's 2D segmentation, whose weights need it.
    drop_path : float
        Stochastic depth of the encoder's last block.
    """

    def __init__(
        self,
        network: Network,
        channels: int,
        classes: int,
        native: Shape,
        *,
        deep_supervision: bool = True,
        rereads_coarsest: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.rereads_coarsest = rereads_coarsest
        d, preset = len(native), PRESETS[network]
        self.encoder = Encoder(preset, {d: channels}, {d: native}, class_token=False, drop_path=drop_path)
        self.decoder = Decoder(preset, {d: native}, class_token=False)
        self.stem_decoder = StemDecoder(preset, [d])
        self.head = convolution(d)(preset.stem[0].channels, classes, 1)
        widths = (preset.stem[-1].channels, *preset.dims[:3]) if deep_supervision else ()
        self.deep_heads = nn.ModuleList(convolution(d)(width, classes, 1) for width in widths)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Score images (B, channels, *shape).

        Returns
        -------
        Tensor, shape (B, classes, *shape)
            In evaluation mode, or without deep supervision.
        list of Tensor, each (B, classes, *grid)
            In training mode: as `levels`.
        """
        if self.training and self.deep_heads:
            return self.levels(x)
        return self._full(self._maps(x)[0], x)

    def levels(self, x: Tensor) -> list[Tensor]:
        """Score images at every level, each (B, classes, *grid).

        Full size first, then half in plane and the decoder's stages, fine to coarse.
        """
        finest, half, *stages = self._maps(x)
        deep = zip(self.deep_heads, (half, *stages), strict=False)  # none without deep supervision
        return [self._full(finest, x), *(head(maps) for head, maps in deep)]

    def _maps(self, x: Tensor) -> list[Tensor]:
        """Finest level, level of half the size in plane (the same one in MiT), decoder stages."""
        encoded = self.encoder(x)
        if self.rereads_coarsest:
            coarsest = encoded.stages[-1]
            tokens = coarsest.reshape(len(x), -1, coarsest.shape[1])
            encoded.stages[-1] = tokens.transpose(1, 2).reshape(coarsest.shape)
        stages = self.decoder(encoded).stages
        climbed = self.stem_decoder(stages[-1], encoded.stem)
        return [climbed[-1], climbed[0], *reversed(stages)]

    def _full(self, finest: Tensor, x: Tensor) -> Tensor:
        # A 1x1 convolution and interpolation commute, so the few class maps are enlarged, not 32 channels.
        return enlarge(self.head(finest), x.shape[2:])
