"""How well predictions agree with references: masks by overlap and distance, classes by rank."""

from unimiss.evaluation.classification import evaluate_predictions
from unimiss.evaluation.diagnoses import ClassificationReport, Diagnosis, Estimate
from unimiss.evaluation.evaluate import evaluate, write_csv, write_report
from unimiss.evaluation.folder import evaluate_folder
from unimiss.evaluation.masks import Scores, evaluate_masks
from unimiss.evaluation.problems import Problem
from unimiss.evaluation.report import CaseScores, Report
from unimiss.evaluation.statistics import Statistics

__all__ = [
    "CaseScores",
    "ClassificationReport",
    "Diagnosis",
    "Estimate",
    "Problem",
    "Report",
    "Scores",
    "Statistics",
    "evaluate",
    "evaluate_folder",
    "evaluate_masks",
    "evaluate_predictions",
    "write_csv",
    "write_report",
]
