"""Who trains, validates and tests: by patient, as the data set says, else by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimiss.data.cases import Case
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig
from unimiss.finetuning.splits import split_cases


def cases(count: int, **entries) -> list[Case]:
    """One image a patient; an entry is a function of its number."""
    return [
        Case((Path(f"{n}.png"),), **{name: entry(n) for name, entry in entries.items()}) for n in range(count)
    ]


def names(splits, part):
    return {case.name for case in splits[part]}


def config(**settings) -> FinetuneConfig:
    return FinetuneConfig(dataset=Path("set"), **settings)


def split(told, settings):
    return split_cases(told, settings, lambda warning: None)


def test_splits_of_the_data_set_are_kept_and_nobody_else_is_held_out():
    told = cases(40, split=lambda n: {0: "test", 1: "validation"}.get(n, "training"))
    splits = split(told, config())
    assert names(splits, "test") == {"0"}
    assert names(splits, "validation") == {"1"}
    assert len(splits["training"]) == 38


def test_a_fold_beside_a_named_validation_is_said_to_be_of_no_use():
    told, said = cases(40, split=lambda n: "validation" if n == 1 else "training"), []
    assert names(split_cases(told, config(fold=3), said.append), "validation") == {"1"}
    assert "fold 3 is not used" in said[0]


def test_folds_of_the_data_set_are_kept():
    splits = split(cases(6, fold=lambda n: n % 3), config(fold=2, folds=3))
    assert names(splits, "validation") == {"2", "5"}
    assert names(split(cases(6, fold=lambda n: 7 * (n % 3)), config(fold=14)), "validation") == {"2", "5"}
    with pytest.raises(InputError, match=r"fold 4 does not exist: .* the folds 1, 2, 3"):
        split(cases(6, fold=lambda n: n % 3 + 1), config(fold=4))
    many = split(cases(25, fold=lambda n: n % 5), config())
    assert not many["test"]
    assert len(many["training"]) == 20


def test_a_fold_that_is_not_drawn_is_refused():
    with pytest.raises(InputError, match="fold 5 does not exist: of 40 patients there are the folds 0, 1, 2"):
        split(cases(40), config(fold=5, holdout=0))
    with pytest.raises(InputError, match="of 3 patients there are the folds 0, 1, 2"):
        split(cases(3), config(fold=4))


def test_patients_of_the_test_are_not_counted_among_those_to_train_with():
    with pytest.raises(InputError, match="has cases of 1 patients to train with"):
        split(cases(6, split=lambda n: "test" if n else "training"), config())


def test_a_warning_says_that_nobody_is_held_out_only_where_somebody_was_to_be():
    def warnings(told, **settings):
        heard = []
        split_cases(told, config(**settings), heard.append)
        return heard

    assert warnings(cases(6)) == ["no patient is held out for a test: there are fewer than 20"]
    assert not warnings(cases(6), holdout=0)
    assert not warnings(cases(40))
    assert not warnings(cases(40, split=lambda n: "training" if n else "validation"))


def test_where_only_a_test_is_named_folds_are_drawn_from_the_others():
    told = cases(12, split=lambda n: "test" if n < 2 else "training")
    parts = [names(split(told, config(fold=fold, folds=5)), "validation") for fold in range(5)]
    assert set().union(*parts) == {str(n) for n in range(2, 12)}
    assert sum(map(len, parts)) == 10


def test_patients_stay_together():
    told = [Case((Path(f"{n}.png"),), patient=f"p{n // 4}") for n in range(24)]
    splits = split(told, config())
    patients = [{case.patient for case in part} for part in splits.values()]
    assert not patients[0] & patients[1]
