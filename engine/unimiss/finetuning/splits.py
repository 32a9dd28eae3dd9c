"""Who trains, who validates, and who is held out: always whole patients."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

from unimiss.data.cases import Case, fold_of, is_held_out
from unimiss.data.datasets import Dataset
from unimiss.errors import InputError
from unimiss.finetuning.config import FinetuneConfig
from unimiss.runs.writer import RunWriter

FEWEST_TO_HOLD_OUT = 20  # patients

Splits = dict[str, list[Case]]


def split_cases(cases: Sequence[Case], config: FinetuneConfig, warn: Callable[[str], None]) -> Splits:
    """Split by patient: the held-out test, the validation fold, the rest for training.

    Splits and folds that the data set names are kept, and nobody else is held out then; a patient is in one
    of each. `warn` says where nobody is held out for want of patients.
    """
    patients = sorted({case.patient for case in cases})
    named = {case.patient: case.split for case in cases if case.split}
    folds = {case.patient: case.fold for case in cases if case.fold is not None}
    holdout = 0 if named or folds else config.holdout
    if holdout and len(patients) < FEWEST_TO_HOLD_OUT:
        warn(f"no patient is held out for a test: there are fewer than {FEWEST_TO_HOLD_OUT}")
        holdout = 0
    test = {p for p in patients if is_held_out(p, holdout) or named.get(p) == "test"}
    others = [patient for patient in patients if patient not in test]
    if len(others) < 2:
        raise InputError(
            f"{config.dataset} has cases of {len(others)} patients to train with; at least 2 are needed"
        )
    validation = {patient for patient in others if named.get(patient) == "validation"}
    if validation and config.fold:
        warn(f"{config.dataset} says itself who validates, so fold {config.fold} is not used")
    validation = validation or _fold(others, folds, config)
    rest = sorted(set(others) - validation, key=lambda p: zlib.crc32(f"{config.seed}:{p}".encode()))
    training = set(rest[: max(1, round(config.fraction * len(rest)))])
    return {
        "training": [case for case in cases if case.patient in training],
        "validation": [case for case in cases if case.patient in validation],
        "test": [case for case in cases if case.patient in test],
    }


def _fold(patients: Sequence[str], named: Mapping[str, int], config: FinetuneConfig) -> set[str]:
    """Patients of the fold that validates, of those that the data set names or, without, of drawn ones."""
    folds = {patient: named[patient] for patient in patients if patient in named}
    folds = folds or fold_of(patients, min(config.folds, len(patients)))
    there = sorted(set(folds.values()))
    if config.fold not in there:
        raise InputError(
            f"fold {config.fold} does not exist: of {len(patients)} patients there are the folds "
            f"{', '.join(map(str, there))}"
        )
    return {patient for patient, fold in folds.items() if fold == config.fold}


def saved_splits(writer: RunWriter, dataset: Dataset) -> Splits | None:
    """Return the splits that a resumed run began with, whatever was added to the data set since."""
    if not writer.resumed or not writer.run.manifest_file.exists():
        return None
    manifest = writer.run.manifest()
    began, now = manifest["labels"], {str(value): name for value, name in dataset.labels.items()}
    if now != began:
        told = " and ".join(", ".join(f"{v} {name}" for v, name in c.items()) for c in (began, now))
        raise InputError(f"{dataset.name}: the classes of this run and of its data set differ: {told}")
    by_image = {str(case.image): case for case in dataset.cases}
    splits = manifest["splits"]
    missing = [path for paths in splits.values() for path in paths if path not in by_image]
    if missing:
        raise InputError(
            f"{len(missing)} cases of this run are gone, first {missing[0]}; put them back to resume it"
        )
    return {name: [by_image[path] for path in paths] for name, paths in splits.items()}
