"""MiT, the medical Transformer: one backbone for radiographs and volumes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from unimiss.models.convolution import convolution
from unimiss.models.decoder import Decoder, StemDecoder
from unimiss.models.encoder import Encoder
from unimiss.models.presets import INPUT_CHANNELS, PRESETS, Network, Shape
from unimiss.models.switch import Switchable, enlarge


class Backbone(nn.Module):
    """What pre-training trains: images in, one vector each out, and where it is built for it the image again.

    The vector is the class token: of the decoder in MiT (48 values), of the encoder in MiT+ (320).

    Parameters
    ----------
    network : "tiny", "small" or "plus"
        Size of MiT; "plus" is MiT+.
    native : mapping of int to tuple of int, optional
        Input size that the position tables of each dimension are made for; its keys say which dimensions
        are built. Any other size is interpolated. By default the published one.
    channels : mapping of int to int, optional
        Input channels of each dimension; by default the published ones, 3 in 2D and 1 in 3D.
    reconstruction : bool
        Whether there is a decoder up to full resolution that gives the image back (UniMiSS+).
    drop_path, decoder_drop_path : float
        Stochastic depth of the last block of encoder and decoder, growing linearly from 0.
    """

    def __init__(
        self,
        network: Network,
        native: Mapping[int, Shape] | None = None,
        channels: Mapping[int, int] | None = None,
        *,
        reconstruction: bool = False,
        drop_path: float = 0.0,
        decoder_drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        preset = PRESETS[network]
        native = dict(native or preset.native)
        channels = {d: (channels or INPUT_CHANNELS)[d] for d in native}
        self.decodes = preset.decoder_class_token
        self.reconstructs = reconstruction
        self.embed_dim = preset.dims[0] if self.decodes else preset.dims[-1]
        self.encoder = Encoder(preset, channels, native, class_token=True, drop_path=drop_path)
        if self.decodes or reconstruction:
            self.decoder = Decoder(preset, native, class_token=self.decodes, drop_path=decoder_drop_path)
        if reconstruction:
            self.stem_decoder = StemDecoder(preset, sorted(native))
            width = preset.stem[0].channels
            self.pixels = Switchable(sorted(native), lambda d: convolution(d)(width, channels[d], 1))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Represent images (B, channels, height, width) or (B, channels, depth, height, width).

        One channel instead of several is a grey image.

        Returns
        -------
        Tensor, shape (B, embed_dim)
        """
        encoded = self.encoder(x)
        cls: Tensor = self.decoder(encoded).cls if self.decodes else encoded.cls
        return cls[:, 0]

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Represent images, and give them back.

        Returns
        -------
        Tensor, shape (B, embed_dim)
            As `forward`.
        Tensor, shape of `x`
            Logits of the reconstruction: its sigmoid is the image scaled to [0, 1].
        """
        encoded = self.encoder(x)
        decoded = self.decoder(encoded)
        finest = self.stem_decoder(decoded.stages[-1], encoded.stem)[-1]
        cls: Tensor = decoded.cls if self.decodes else encoded.cls
        return cls[:, 0], enlarge(self.pixels(finest), x.shape[2:])


def initialise(network: nn.Module) -> None:
    """Draw linear layers from a truncated normal (0.02), convolutions by Kaiming fan-out; zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
