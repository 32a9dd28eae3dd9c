"""What a fine-tuning starts from: nothing, our pre-trainings, or another network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from unimiss.data.datasets import Kind
from unimiss.errors import InputError, Stopped
from unimiss.models.checkpoint import STARTER, Description
from unimiss.pretraining import PretrainConfig, pretrain
from unimiss.runs import Run, State
from unimiss.settings import load_yaml

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import starter

NONE = "none"
ARMS = {"3d": "3d", "2d": "2d", "2d+3d": "both"}  # and their folders in DIR/pretraining
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """Another network that is trained in the same way, from random weights.

    Attributes
    ----------
    kind : "segmentation" or "classification"
        Its task.
    lr : float
        Peak learning rate of AdamW, the usual one for such a network.
    make : callable
        Builds it, for the input and the classes of a description.
    """

    kind: Kind
    lr: float
    make: Callable[[Description], nn.Module]


def basicunet(description: Description) -> nn.Module:
    """U-Net of MONAI with its own widths (32, 32, 64, 128, 256, 32), instance norm."""
    from monai.networks.nets import BasicUNet

    dimension, channels, classes = _sizes(description)
    return BasicUNet(dimension, channels, classes)


def dynunet(description: Description) -> nn.Module:
    """nnU-Net's plain U-Net: five levels, widths 32 to 320, without deep supervision."""
    from monai.networks.nets import DynUNet

    dimension, channels, classes = _sizes(description)
    strides = (1, 2, 2, 2, 2)
    return DynUNet(
        dimension,
        channels,
        classes,
        kernel_size=(3,) * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=(32, 64, 128, 256, 320),
    )


def swinunetr(description: Description) -> nn.Module:
    """Swin UNETR, feature size 12: half of MONAI's default, for a CPU."""
    from monai.networks.nets import SwinUNETR

    if find_spec("einops") is None:  # MONAI leaves it out
        raise InputError("swinunetr needs the package einops, which is not installed: pip install einops")
    dimension, channels, classes = _sizes(description)
    return SwinUNETR(channels, classes, feature_size=12, spatial_dims=dimension)


def densenet121(description: Description) -> nn.Module:
    """DenseNet-121 with its published widths."""
    from monai.networks.nets import DenseNet121

    return DenseNet121(*_sizes(description))


PEERS = {
    "basicunet": Peer("segmentation", 1e-3, basicunet),
    "dynunet": Peer("segmentation", 1e-3, dynunet),
    "swinunetr": Peer("segmentation", 4e-4, swinunetr),
    "densenet121": Peer("classification", 5e-4, densenet121),
}
STARTS = (NONE, *ARMS, STARTER, *PEERS)


def fits(start: str, kind: Kind) -> bool:
    """Whether a start is one for a task of that kind."""
    return start not in PEERS or PEERS[start].kind == kind


def settings_of(start: str, output: Path) -> dict[str, Any]:
    """Settings of a fine-tuning from `start`; its learning rate is the engine's unless it is a peer."""
    if start in PEERS:
        return {"init": None, "lr": PEERS[start].lr}
    if start in ARMS:
        return {"init": pretraining_of(start, output).path}
    return {"init": None if start == NONE else start}


def pretraining_of(arm: str, output: Path) -> Run:
    """The run folder of a pre-training."""
    return Run(output / "pretraining" / ARMS[arm])


def pretrain_arm(arm: str, output: Path, steps: int) -> None:
    """Pre-train on images, volumes or both, as the starter weights were, unless that is done.

    Raises
    ------
    InputError
        The folder holds a pre-training of another length.
    Stopped
        The pre-training was asked to stop.
    """
    run = pretraining_of(arm, output)
    if run.exists():
        config = PretrainConfig.build(load_yaml(run.config_file), str(run.config_file))
        if config.steps != steps:
            raise InputError(f"{run.path} has {config.steps} steps, not {steps}; take another --output")
    else:
        data = Path(os.environ["UNIMISS_DATA"])
        images = [] if arm == "3d" else starter.allowed(data, starter.RADIOGRAPHS)
        volumes = [] if arm == "2d" else starter.allowed(data, starter.VOLUMES)
        config = PretrainConfig.build(
            starter.SETTINGS
            | {
                "images": images,
                "volumes": volumes,
                "holdout": starter.HOLDOUT,
                "steps": steps,
                "workers": 0,
            }
        )
    if run.state != State.FINISHED:
        pretrain(config, run.path, resume=run.exists())
    if run.state != State.FINISHED:
        raise Stopped(f"the pre-training {run.path} was stopped; the same command goes on with it")


def _sizes(description: Description) -> tuple[int, int, int]:
    """Dimension, input channels and classes of the network that is described."""
    ((dimension, channels),) = description.channels.items()
    return dimension, channels, len(description.labels)
