"""How volumes are scaled: by what the data set says they are, else as most of them, the same in every fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import unimiss as engine
from unimiss.data.cache import Cache
from unimiss.data.cases import Case
from unimiss.data.datasets import Dataset
from unimiss.data.preprocessing import BY_PERCENTILE, HOUNSFIELD, Scaling
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig, run
from unimiss.finetuning.grids import resized_spacing
from unimiss.finetuning.loop import Finetuning
from unimiss.finetuning.modality import kinds_of
from unimiss.finetuning.prepare import prepare_cases

SHAPE = (4, 6, 6)
WITH_AIR, WITHOUT_AIR = (-1000, 300), (-80, 300)


def volumes(folder: Path, *ranges: tuple[float, float], names: tuple[str, ...] = ()) -> Dataset:
    """A data set of a volume for each range of values."""
    cases = []
    for number, (low, high) in enumerate(ranges):
        values = np.linspace(low, high, np.prod(SHAPE)).reshape(1, *SHAPE).astype(np.float32)
        path = folder / f"p{number}.nii"
        engine.write(engine.Image(values, engine.Geometry.from_spacing(SHAPE)), path)
        cases.append(Case((path,), classes=("a",)))
    return Dataset("set", "classification", tuple(cases), {0: "a", 1: "b"}, channels=names)


def scaling(dataset: Dataset, cases: tuple[Case, ...], folder: Path, warn: Callable[[str], None]) -> Scaling:
    """How these of the data set's cases are stored."""
    config = FinetuneConfig.build(
        {"dataset": folder, "task": "classification", "init": None, "patch": (16, 32, 32)}
    )
    cache = Cache(folder / "cache")
    return prepare_cases(cases, config, dataset, cache, lambda share: None, warn)[1].intensity


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("CT", WITHOUT_AIR, HOUNSFIELD),
        ("MRI", (-900, 300), BY_PERCENTILE),
        ("T1w", (-900, 300), BY_PERCENTILE),
        ("scan", WITH_AIR, HOUNSFIELD),
        ("", WITHOUT_AIR, BY_PERCENTILE),
    ],
)
def test_the_name_of_a_channel_decides_and_values_where_it_says_nothing(tmp_path, name, values, expected):
    dataset = volumes(tmp_path, values, names=(name,))
    assert scaling(dataset, dataset.cases, tmp_path, pytest.fail) == expected


def test_ct_beside_another_modality_in_one_file_is_refused(tmp_path):
    values = np.zeros((2, *SHAPE), np.float32)
    engine.write(engine.Image(values, engine.Geometry.from_spacing(SHAPE)), tmp_path / "p0.nii")
    case = Case((tmp_path / "p0.nii",), classes=("a",))
    mixed = Dataset("set", "classification", (case,), {0: "a", 1: "b"}, channels=("CT", "PET"))
    with pytest.raises(InputError, match=r"CT, PET in one file.*a file of its own"):
        scaling(mixed, mixed.cases, tmp_path, pytest.fail)


def test_every_fold_scales_as_most_of_the_data_set_and_a_file_unlike_them_is_named(tmp_path):
    dataset, said = volumes(tmp_path, WITHOUT_AIR, *[WITH_AIR] * 3), []
    crop, *others = dataset.cases
    assert scaling(dataset, tuple(others), tmp_path, pytest.fail) == HOUNSFIELD
    assert scaling(dataset, (crop,), tmp_path, said.append) == HOUNSFIELD
    assert len(said) == 1
    assert "p0.nii: no CT by values or header" in said[0]


def test_ct_that_was_scaled_before_is_not_stored_in_whole_hounsfield_units(tmp_path):
    dataset, said = volumes(tmp_path, (0, 1), (0, 1), names=("CT",)), []
    assert scaling(dataset, dataset.cases, tmp_path, said.append) == BY_PERCENTILE
    assert said == [
        "set calls channel 0 CT, but its values span 1: "
        "these are no Hounsfield units, and are scaled by percentiles"
    ]


def test_few_files_of_a_large_data_set_are_looked_at_and_damaged_ones_passed_over(tmp_path):
    dataset, cache = volumes(tmp_path, WITH_AIR), Cache(tmp_path / "cache")
    (image,) = dataset.cases[0].images
    copies = [tmp_path / f"copy{number}.nii" for number in range(40)]
    for copy in copies:
        copy.write_bytes(image.read_bytes())
    copies[3].write_bytes(b"damaged")
    many = Dataset("set", "classification", tuple(Case((copy,), classes=("a",)) for copy in copies))
    assert [kind.ct for kind in kinds_of(many, cache, lambda share: None, pytest.fail)] == [True]
    assert 20 < len(list(cache.folder.iterdir())) <= 25
    for copy in copies:
        copy.write_bytes(b"damaged")
    with pytest.raises(InputError, match="none of the 40 images can be read"):
        kinds_of(many, cache, lambda share: None, pytest.fail)


def test_pixels_of_resized_pictures_have_the_shape_that_most_have():
    wide = engine.Geometry.from_spacing((100, 200))
    tall_pixels = engine.Geometry.from_spacing((100, 200), (2.0, 1.0))
    assert resized_spacing([wide, wide, tall_pixels], (64, 64)) == (0.5, 1.0)
    assert resized_spacing([tall_pixels], (64, 64)) == (1.0, 1.0)


def test_a_training_turns_resized_pictures_by_true_angles(tmp_path, monkeypatch):
    for number in range(8):
        values = np.random.default_rng(number).integers(0, 255, (1, 24, 48)).astype(np.uint8)
        path = tmp_path / "set" / "ab"[number % 2] / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        engine.write(engine.Image(values, engine.Geometry.from_spacing((24, 48))), path)
    made: list[Finetuning] = []
    monkeypatch.setattr(run, "train", lambda finetuning, writer: made.append(finetuning))
    monkeypatch.setenv("UNIMISS_CACHE", str(tmp_path / "cache"))
    settings = {"task": "classification", "init": None, "network": "tiny", "patch": (32, 32), "holdout": 0}
    run.finetune(FinetuneConfig.build({"dataset": tmp_path / "set", **settings}), tmp_path / "run")
    assert made[0].task.material.spacing == (0.5, 1.0)
