"""MiT for classification: class scores for an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimiss.models.backbone import initialise
from unimiss.models.encoder import Encoder
from unimiss.models.presets import PRESETS, Network, Shape


class ClassificationNetwork(nn.Module):
    """Encoder with class token, and a linear layer.

    As published, a radiograph is classified by its class token alone, a volume by class token and mean token
    together, after a layer norm.

    Parameters
    ----------
    network : "tiny", "small" or "plus"
        Size of MiT; "plus" is MiT+.
    channels, classes : int
        Input channels and outputs.
    native : tuple of int
        Input size; its length, 2 or 3, is the network's dimension.
    drop_path : float
        Stochastic depth of the encoder's last block.
    """

    def __init__(
        self, network: Network, channels: int, classes: int, native: Shape, *, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        d, preset = len(native), PRESETS[network]
        self.encoder = Encoder(preset, {d: channels}, {d: native}, class_token=True, drop_path=drop_path)
        self.pools = d == 3
        if self.pools:
            self.norm = nn.LayerNorm(preset.dims[-1], eps=1e-6)
        self.head = nn.Linear(preset.dims[-1], classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Score images (B, channels, *shape) as (B, classes)."""
        encoded = self.encoder(x)
        token: Tensor = encoded.cls
        if self.pools:
            tokens = encoded.stages[-1].flatten(2).transpose(1, 2)
            mean = self.norm(tokens).mean(dim=1)
            # Linear, so the head on the mean of both is the mean of its outputs on each.
            token = torch.stack([self.norm(token[:, 0]), mean]).mean(dim=0)[:, None]
        out: Tensor = self.head(token[:, 0])
        return out
