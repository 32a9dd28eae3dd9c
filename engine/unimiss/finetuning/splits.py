"""Who trains, who validates, and who is held out: always whole patients."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from unimiss.data.cases import Case, fold_of, is_held_out
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.runs.writer import RunWriter

FEWEST_TO_HOLD_OUT = 20  # patients

Splits = dict[str, list[Case]]


def split_cases(cases: Sequence[Case], config: FinetuneConfig) -> Splits:
    """Split by patient: the held-out test, the validation fold, the rest for training.

    Splits and folds that the data set names are kept; a patient is in one of each.
    """
    patients = sorted({case.patient for case in cases})
    named = {case.patient: case.split for case in cases if case.split}
    holdout = config.holdout if len(patients) >= FEWEST_TO_HOLD_OUT and not named else 0
    test = {p for p in patients if is_held_out(p, holdout) or named.get(p) == "test"}
    others = [patient for patient in patients if patient not in test]
    if len(others) < 2:
        raise InputError(f"{config.dataset} has cases of {len(patients)} patients; at least 2 are needed")
    folds = {case.patient: case.fold for case in cases if case.fold is not None}
    folds = folds or fold_of(others, min(config.folds, len(others)))
    validation = {patient for patient in others if named.get(patient) == "validation"}
    validation = validation or {patient for patient in others if folds.get(patient) == config.fold}
    if not validation:
        raise InputError(f"fold {config.fold} is empty: there are only {len(others)} patients")
    rest = sorted(set(others) - validation, key=lambda p: zlib.crc32(f"{config.seed}:{p}".encode()))
    training = set(rest[: max(1, round(config.fraction * len(rest)))])
    return {
        "training": [case for case in cases if case.patient in training],
        "validation": [case for case in cases if case.patient in validation],
        "test": [case for case in cases if case.patient in test],
    }


def saved_splits(writer: RunWriter, cases: Sequence[Case]) -> Splits | None:
    """Return the splits that a resumed run began with, whatever was added to the data set since."""
    if not writer.resumed or not writer.run.manifest_file.exists():
        return None
    by_image = {str(case.image): case for case in cases}
    splits = writer.run.manifest()["splits"]
    missing = [path for paths in splits.values() for path in paths if path not in by_image]
    if missing:
        raise InputError(
            f"{len(missing)} cases of this run are gone, first {missing[0]}; put them back to resume it"
        )
    return {name: [by_image[path] for path in paths] for name, paths in splits.items()}
