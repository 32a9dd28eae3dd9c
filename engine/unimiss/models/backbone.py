"""MiT, the medical Transformer: one backbone for radiographs and volumes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from unimiss.models.decoder import Decoder
from unimiss.models.encoder import Encoder
from unimiss.models.presets import INPUT_CHANNELS, NATIVE, PRESETS, Network, Shape


class Backbone(nn.Module):
    """Encoder and decoder; the representation is the decoder's class token.

    Parameters
    ----------
    network : str
        "tiny" or "small".
    native : mapping of int to tuple of int, optional
        Input size that the position tables of each dimension are made for; its keys say which dimensions
        are built. Any other size is interpolated.
    drop_path : float
        Stochastic depth of the encoder's last block.
    """

    def __init__(
        self, network: Network, native: Mapping[int, Shape] | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        preset, native = PRESETS[network], dict(NATIVE if native is None else native)
        channels = {d: INPUT_CHANNELS[d] for d in native}
        self.embed_dim = preset.dims[0]
        self.encoder = Encoder(preset, channels, native, class_token=True, drop_path=drop_path)
        self.decoder = Decoder(preset, native, class_token=True)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Represent images (B, 3, height, width) or (B, 1, depth, height, width) as (B, embed_dim)."""
        cls = self.decoder(self.encoder(x)).cls
        out: Tensor = cls[:, 0]
        return out


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
