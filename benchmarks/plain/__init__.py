"""MiT as one writes it down at first: the baseline of `networks.py`, on the same weights.

Textbook attention that keeps every score, tokens and maps copied between stages, one view after another, grey
slices copied to three channels, scores of every slice before their mean is taken.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead


def represent(backbone: Backbone, x: Tensor) -> Tensor:
    """Class token of the decoder (B, 48) of images (B, C, *shape)."""
    d = f"{x.ndim - 2}d"
    encoder: Any = backbone.encoder
    decoder: Any = backbone.decoder
    maps = _conv_block(encoder.stem[0][d][0], x)
    cls, skips = encoder.cls.expand(x.shape[0], -1, -1), []
    for i, stage in enumerate(encoder.stages):
        if i:
            cls = encoder.cls_projections[i - 1](cls)
        maps, cls = _stage(stage, _conv_block(encoder.embeddings[i][d][0], maps), cls, d)
        skips.append(maps)
    skips.pop()
    for i, stage in enumerate(decoder.stages):
        maps = (decoder.upsamplings[i][d][0](maps) + skips.pop()).contiguous()
        maps, cls = _stage(stage, maps, decoder.cls_projections[i](cls), d)
    return cls[:, 0]


def scores(backbone: Backbone, head: ProjectionHead, views: Tensor) -> dict[str, Tensor]:
    """Scores of views (2B, C, *shape): of images, or of volumes and of the mean of their slices."""
    one_by_one = [represent(backbone, view) for view in views.chunk(2)]
    given = torch.cat([_score(head, vector) for vector in one_by_one])
    if views.ndim == 4:
        return {"image": given}
    means = []
    for volumes in views.chunk(2):
        n, _, depth, *plane = volumes.shape
        slices = volumes.transpose(1, 2).reshape(n * depth, 1, *plane).repeat(1, 3, 1, 1)
        means.append(_score(head, represent(backbone, slices)).view(n, depth, -1).mean(dim=1))
    return {"volume": given, "slices": torch.cat(means)}


def _conv_block(block: Any, x: Tensor) -> Tensor:
    conv, norm, _ = block
    return F.leaky_relu(norm(conv(x)), 0.01)


def _stage(stage: Any, maps: Tensor, cls: Tensor, d: str) -> tuple[Tensor, Tensor]:
    grid = maps.shape[2:]
    tokens = torch.cat([cls, maps.flatten(2).transpose(1, 2).contiguous()], dim=1) + stage.position(
        tuple(grid)
    )
    for block in stage.blocks:
        tokens = tokens + _attend(block.attention, block.norm1(tokens), grid, d)
        tokens = tokens + block.mlp(block.norm2(tokens))
    tokens = stage.norm(tokens)
    maps = tokens[:, 1:].transpose(1, 2).contiguous().view(tokens.shape[0], -1, *grid)
    return maps, tokens[:, :1]


def _attend(attention: Any, x: Tensor, grid: tuple[int, ...], d: str) -> Tensor:
    b, n, c = x.shape
    heads = attention.heads
    q = attention.q(x).reshape(b, n, heads, c // heads).permute(0, 2, 1, 3).contiguous()
    seen = x
    if attention.reduction > 1:
        maps = x[:, 1:].transpose(1, 2).contiguous().view(b, c, *grid)
        reduced = attention.reduce[d](maps).flatten(2).transpose(1, 2).contiguous()
        seen = attention.norm(torch.cat([x[:, :1], reduced], dim=1))
    kv = attention.kv(seen).reshape(b, -1, 2, heads, c // heads).permute(2, 0, 3, 1, 4).contiguous()
    weights = ((q @ kv[0].transpose(-2, -1)) * (c // heads) ** -0.5).softmax(dim=-1)
    mixed = (weights @ kv[1]).transpose(1, 2).contiguous().view(b, n, c)
    return nn.functional.linear(mixed, attention.proj.weight, attention.proj.bias)


def _score(head: ProjectionHead, vectors: Tensor) -> Tensor:
    features = F.normalize(head.mlp(vectors.float()), dim=-1)
    return F.linear(features, F.normalize(head.last.weight, dim=1))
