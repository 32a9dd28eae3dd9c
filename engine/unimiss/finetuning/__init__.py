"""Fine-tuning: a task's network from pre-trained weights and labelled cases."""

from unimiss.finetuning.config import FinetuneConfig
from unimiss.finetuning.run import finetune

__all__ = ["FinetuneConfig", "finetune"]
