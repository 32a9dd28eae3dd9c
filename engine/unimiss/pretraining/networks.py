"""Student, teacher and objective, as the settings ask for them."""

from __future__ import annotations

from collections.abc import Mapping

from unimiss.models import Backbone, checkpoint
from unimiss.models.head import ProjectionHead
from unimiss.models.transfer import TransferReport, transfer
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.objective import Learner, SelfDistillation
from unimiss.pretraining.plus import PlusDistillation, PlusStudent, PlusTeacher
from unimiss.settings import known

Native = Mapping[int, tuple[int, ...]]


def make_student(
    config: PretrainConfig, native: Native, resumed: bool
) -> tuple[Learner, TransferReport | None]:
    """Make the student, untrained or with the weights that `init` names.

    Parameters
    ----------
    config : PretrainConfig
        Resolved.
    native : mapping of int to tuple of int
        Sizes of the views.
    resumed : bool
        Whether a checkpoint will replace the first weights.

    Returns
    -------
    Learner
        The student.
    TransferReport or None
        What became of the weights of `init`.
    """
    plus = config.objective == "unimiss+"
    backbone = Backbone(
        config.network,
        native,
        reconstruction=plus,
        drop_path=config.drop_path,
        decoder_drop_path=known(config.decoder_drop_path),
    )
    head = ProjectionHead(backbone.embed_dim, known(config.outputs))
    transferred = None
    if config.init is not None and not resumed:  # later on, the checkpoint holds all weights
        source = checkpoint.load(config.init, only=("network.", "head."))
        transferred = transfer(backbone, source.network())
        transferred.add_head(head, source.part("head"))
    return (PlusStudent if plus else Learner)(backbone, head), transferred


def make_teacher(config: PretrainConfig, native: Native, student: Learner) -> Learner:
    """Make the student's teacher: its weights, without reconstruction, stochastic depth and gradients."""
    backbone = Backbone(config.network, native)
    head = ProjectionHead(backbone.embed_dim, known(config.outputs))
    teacher = (PlusTeacher if config.objective == "unimiss+" else Learner)(backbone, head)
    held = teacher.state_dict().keys()
    teacher.load_state_dict({name: t for name, t in student.state_dict().items() if name in held})
    return teacher.requires_grad_(False).eval()


def make_objectives(config: PretrainConfig) -> dict[int, SelfDistillation | PlusDistillation]:
    """Make the objective of either dimension; they are one where these share the center."""
    of_2d = _make_objective(config)
    return {2: of_2d, 3: of_2d if known(config.shared_center) else _make_objective(config)}


def _make_objective(config: PretrainConfig) -> SelfDistillation | PlusDistillation:
    temperatures = {
        "student_temperature": config.student_temperature,
        "teacher_temperature": known(config.teacher_temperature),
    }
    if config.objective == "unimiss":
        return SelfDistillation(
            known(config.outputs), **temperatures, center_each_term=config.center_each_term
        )
    return PlusDistillation(
        known(config.outputs),
        **temperatures,
        drr_weight=config.drr_weight,
        slices_weight=config.slices_weight,
        reconstruction_weight=config.reconstruction_weight,
    )
