"""The Transformer block that 2D and 3D share, with spatial-reduction attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimiss.models.convolution import convolution
from unimiss.models.presets import Shape
from unimiss.models.switch import Switchable


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of (B, heads, N, d), fused where that is faster.

    On a CPU in bf16 the fused backward pass takes a third of a whole training step; plain products do not.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        scores: Tensor = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return scores.softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Queries from all tokens; keys and values from the class token and a reduced grid.

    Parameters
    ----------
    dim, heads : int
        Width of a token and number of heads.
    reduction : int
        Kernel and stride of the convolution that reduces the grid; 1 for none.
    dimensions : sequence of int
        2, 3 or both: only the reducing convolution differs between them.
    bias : bool
        Whether queries, keys and values have one.
    depthwise : bool
        Whether the reducing convolution works on every channel by itself (MiT+).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        reduction: int,
        dimensions: Sequence[int],
        *,
        bias: bool,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            groups = dim if depthwise else 1
            self.reduce = Switchable(
                dimensions, lambda d: convolution(d)(dim, dim, reduction, stride=reduction, groups=groups)
            )
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, grid: Shape) -> Tensor:
        """Mix tokens (B, [1 +] prod(grid), dim), the class token first where there is one.

        Grids that the reduction does not divide are floored, as in the release; an axis shorter than the
        reduction is padded with zeros to it, where the release fails.
        """
        b, n, c = x.shape
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        kv = self.kv(self._reduced(x, grid)).view(b, -1, 2, self.heads, c // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(b, n, c))
        return out

    def _reduced(self, x: Tensor, grid: Shape) -> Tensor:
        if self.reduction == 1:
            return x
        entries = x.shape[1] - math.prod(grid)
        maps = x[:, entries:].transpose(1, 2).reshape(x.shape[0], -1, *grid)
        short = [max(0, self.reduction - size) for size in grid]
        if any(short):
            maps = F.pad(maps, [pad for size in reversed(short) for pad in (0, size)])
        reduced = self.reduce(maps).flatten(2).transpose(1, 2)
        out: Tensor = self.norm(torch.cat([x[:, :entries], reduced], dim=1))
        return out


class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch for some samples of a training batch."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Keep or drop each sample's branch (B, ...), scaled to keep the mean."""
        if self.rate == 0 or not self.training:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


def drop_rates(last: float, blocks: int) -> list[float]:
    """Stochastic depth of successive blocks: from 0 to `last` in equal steps."""
    return [last * i / max(1, blocks - 1) for i in range(blocks)]


class Block(nn.Module):
    """Pre-norm Transformer block: attention, then an MLP with GELU.

    Parameters
    ----------
    dim, heads, reduction, dimensions, bias, depthwise
        As in `Attention`.
    mlp_ratio : int
        Hidden width over `dim`.
    eps : float
        Of both layer norms: 1e-6 in the encoder, 1e-5 in the decoder.
    drop_path : float
        Share of samples whose branches are dropped.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        reduction: int,
        dimensions: Sequence[int],
        *,
        bias: bool,
        depthwise: bool,
        mlp_ratio: int,
        eps: float,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attention = Attention(dim, heads, reduction, dimensions, bias=bias, depthwise=depthwise)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Shape) -> Tensor:
        """Map tokens (B, [1 +] prod(grid), dim) to the same shape."""
        x = x + self.drop_path(self.attention(self.norm1(x), grid))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out
