"""Pre-training: self-distillation within and across dimensions."""

from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.run import pretrain

__all__ = ["PretrainConfig", "pretrain"]
