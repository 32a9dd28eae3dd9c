"""The twelve networks of the official release, and what it calls each of our parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from unimiss.models.presets import Network

Kind = Literal["backbone", "segmentation", "classification", "head"]


@dataclass(frozen=True)
class Variant:
    """One network of the release.

    Attributes
    ----------
    kind : str
        Which of our networks it is.
    network : "tiny", "small" or "plus"
        Size of MiT.
    dimensions : tuple of int
        2, 3 or both.
    outputs : tuple of str
        Names of what it gives.
    """

    kind: Kind
    network: Network
    dimensions: tuple[int, ...]
    outputs: tuple[str, ...]

    @property
    def plus(self) -> bool:
        """Whether it belongs to UniMiSS+."""
        return self.network == "plus"


_BOTH, _FLAT, _VOLUME = (2, 3), (2,), (3,)
_LEVELS = ("result", "ds3", "ds2", "ds1", "ds0")

VARIANTS: dict[str, Variant] = {
    "unimiss_tiny": Variant("backbone", "tiny", _BOTH, ("cls",)),
    "unimiss_small": Variant("backbone", "small", _BOTH, ("cls",)),
    "unimissplus": Variant("backbone", "plus", _BOTH, ("cls", "reconstruction")),
    "projection_head": Variant("head", "tiny", (), ("logits",)),
    "segmentation3d_tiny": Variant("segmentation", "tiny", _VOLUME, _LEVELS),
    "segmentation3d_small": Variant("segmentation", "small", _VOLUME, _LEVELS),
    "segmentation3d_plus": Variant("segmentation", "plus", _VOLUME, ("ds5", "ds4", "ds3", "ds2", "ds1")),
    "segmentation2d_plus": Variant("segmentation", "plus", _FLAT, ("logits",)),
    "classification3d_tiny": Variant("classification", "tiny", _VOLUME, ("logits",)),
    "classification3d_small": Variant("classification", "small", _VOLUME, ("logits",)),
    "classification3d_plus": Variant("classification", "plus", _VOLUME, ("logits",)),
    "classification2d_plus": Variant("classification", "plus", _FLAT, ("logits",)),
}

_Rule = tuple[str, Callable[[re.Match[str], Variant], str]]


def release_names(variant: str, ours: Iterable[str]) -> dict[str, str]:
    """Map our parameter names in one of `VARIANTS` to those of the release."""
    v = VARIANTS[variant]
    return {name: _release_name(name, v) for name in ours}


def _release_name(ours: str, variant: Variant) -> str:
    for pattern, name in _RULES:
        match = re.fullmatch(pattern, ours)
        if match:
            return name(match, variant)
    raise KeyError(ours)


def _dimension(found: str, v: Variant) -> str:
    """Say 2D or 3D; UniMiSS's segmentation, which knows volumes only, says nothing."""
    return "" if v.kind == "segmentation" and not v.plus else found.upper()


def _encoder(v: Variant) -> str:
    return "" if v.kind == "classification" else "transformer."


def _conv_block(part: str) -> str:
    """Part of a conv block: ``0.weight`` is the convolution's, ``1.weight`` and ``1.bias`` the norm's."""
    return part.replace("0.", "conv.").replace("1.", "norm.")


def _stem(m: re.Match[str], v: Variant) -> str:
    level, d, block, part = m.groups()
    if not v.plus:
        return f"{_encoder(v)}patch_embed{_dimension(d, v)}0.{_conv_block(part)}"
    return f"{_encoder(v)}ConvBlock{d.upper()}{level}.{block}.{_conv_block(part)}"


def _embedding(m: re.Match[str], v: Variant) -> str:
    stage, d, block, part = m.groups()
    projection = "proj1" if block == "1" else "proj"
    return f"{_encoder(v)}patch_embed{_dimension(d, v)}{int(stage) + 1}.{projection}.{_conv_block(part)}"


def _block(m: re.Match[str], v: Variant) -> str:
    side, stage, number, part = m.groups()
    part = re.sub(r"attention\.reduce\.(\dd)", lambda d: f"attn.sr{_dimension(d[1], v)}", part)
    part = part.replace("attention.", "attn.").replace("mlp.0.", "mlp.fc1.").replace("mlp.2.", "mlp.fc2.")
    if side == "encoder":
        return f"{_encoder(v)}block{int(stage) + 1}.{number}.{part}"
    return f"Decblock{int(stage) + v.plus}.{number}.{part}"


def _table(m: re.Match[str], v: Variant) -> str:
    side, stage, d = m.groups()
    if side == "encoder":
        return f"{_encoder(v)}pos_embed{_dimension(d, v)}{int(stage) + 1}"
    return f"DecPosEmbed{_dimension(d, v)}{int(stage) + v.plus}"


def _upsampling(m: re.Match[str], v: Variant) -> str:
    stage, d, place, part = m.groups()
    name = f"DecEmbed{_dimension(d, v)}{int(stage) + v.plus}"
    return f"{name}.proj.{part}" if place == "0" else f"{name}.proj1.{_conv_block(part)}"


def _stem_upsampling(m: re.Match[str], v: Variant) -> str:
    level, d, part = m.groups()
    return f"TransposeConv{d.upper()}{int(level) + 1}.{part}" if v.plus else f"transposeconv_stage3.{part}"


def _stem_fusion(m: re.Match[str], v: Variant) -> str:
    level, d, part = m.groups()
    name = f"DeConvBlock{d.upper()}{int(level) + 1}" if v.plus else "stage3_de"
    return f"{name}.{_conv_block(part)}"


def _head(m: re.Match[str], v: Variant) -> str:
    if v.kind == "classification":
        return f"{'head_new' if 3 in v.dimensions else 'head_fc'}.{m[1]}"
    names = {"result": "cls_conv", "ds5": "ds5_cls_conv", "logits": "seg_conv2d"}
    return f"{names[v.outputs[0]]}.{m[1]}"


_RULES: tuple[_Rule, ...] = (
    (r"encoder\.cls", lambda m, v: f"{_encoder(v)}cls_tokens1"),
    (r"encoder\.cls_projections\.(\d)\.(\w+)", lambda m, v: f"{_encoder(v)}cls_tokens{int(m[1]) + 2}.{m[2]}"),
    (r"encoder\.stem\.(\d)\.(\dd)\.(\d)\.(.+)", _stem),
    (r"encoder\.embeddings\.(\d)\.(\dd)\.(\d)\.(.+)", _embedding),
    (r"(encoder|decoder)\.stages\.(\d)\.blocks\.(\d+)\.(.+)", _block),
    (r"(encoder|decoder)\.stages\.(\d)\.position\.tables\.(\dd)", _table),
    (r"decoder\.upsamplings\.(\d)\.(\dd)\.(\d)\.(.+)", _upsampling),
    (r"decoder\.cls_projections\.(\d)\.(\w+)", lambda m, v: f"cls_tokens{m[1]}.{m[2]}"),
    (r"decoder\.stages\.2\.norm\.(\w+)", lambda m, v: f"norm.{m[1]}"),
    (r"stem_decoder\.upsamplings\.(\d)\.(\dd)\.(\w+)", _stem_upsampling),
    (r"stem_decoder\.fusions\.(\d)\.(\dd)\.(.+)", _stem_fusion),
    (r"pixels\.(\dd)\.(\w+)", lambda m, v: f"recon_conv{m[1].upper()}.{m[2]}"),
    (r"deep_heads\.(\d)\.(\w+)", lambda m, v: f"{v.outputs[int(m[1]) + 1]}_cls_conv.{m[2]}"),
    (r"norm\.(\w+)", lambda m, v: f"norm_new.{m[1]}"),
    (r"head\.(\w+)", _head),
    (r"(mlp\..+)", lambda m, v: m[1]),
    (r"last\.weight", lambda m, v: "last_layer.weight_v"),
)
