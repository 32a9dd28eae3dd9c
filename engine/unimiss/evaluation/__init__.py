"""How well masks agree with references: overlap, surface distance, volume."""

from unimiss.evaluation.folder import evaluate_folder
from unimiss.evaluation.masks import Scores, evaluate_masks
from unimiss.evaluation.report import CaseScores, Report

__all__ = ["CaseScores", "Report", "Scores", "evaluate_folder", "evaluate_masks"]
