"""Several image files of a case are the channels of one image, from the data set to the prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import unimiss as engine
from unimiss.cli import main
from unimiss.data.cache import Cache
from unimiss.data.cases import Case, group_channels, read_image
from unimiss.data.datasets import inspect_dataset, read_dataset
from unimiss.data.preprocessing import BY_PERCENTILE, HOUNSFIELD, Intensities, Preprocessing
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig
from unimiss.finetuning.prepare import fit_intensity, prepare_cases
from unimiss.models import checkpoint
from unimiss.runs import Run

SHAPE = (12, 16, 16)


def write(path: Path, array: np.ndarray, spacing=(2.0, 1.0, 1.0)) -> None:
    engine.write(engine.Image(array[None], engine.Geometry.from_spacing(array.shape, spacing)), path)


@pytest.fixture(scope="module")
def ct_and_pet(tmp_path_factory) -> Path:
    """Three cases of CT in Hounsfield units and PET, labelled, in nnU-Net's layout."""
    folder = tmp_path_factory.mktemp("set")
    for number in range(3):
        rng = np.random.default_rng(number)
        organ = np.zeros(SHAPE, np.uint8)
        organ[3:9, 4 + number : 12, 4:12] = 1
        write(
            folder / "imagesTr" / f"p{number}_0000.nii.gz",
            (organ * 150.0 - 50 + rng.normal(0, 5, SHAPE)).astype(np.int16),
        )
        write(
            folder / "imagesTr" / f"p{number}_0001.nii.gz", (organ * 4 + rng.random(SHAPE)).astype(np.float32)
        )
        write(folder / "labelsTr" / f"p{number}.nii.gz", organ)
    described = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "organ": 1}}
    (folder / "dataset.json").write_text(json.dumps(described | {"file_ending": ".nii.gz"}))
    return folder


@pytest.fixture(scope="module")
def run(ct_and_pet, tmp_path_factory) -> Run:
    """A model of both modalities."""
    run = Run(tmp_path_factory.mktemp("runs") / "run")
    tiny = ["--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "validations=1", "--steps", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["finetune", str(ct_and_pet), "--run", str(run.path), *tiny])
    assert not ended.value.code
    return run


def test_files_of_a_case_become_the_channels_of_one_image(ct_and_pet):
    case = read_dataset(ct_and_pet).cases[0]
    image = read_image(case.images)
    assert image.array.shape == (2, *SHAPE)
    for channel, path in zip(image.array, case.images, strict=True):
        np.testing.assert_array_equal(channel, engine.read(path).array[0])
    assert image.provenance.path == case.images[0]


def test_modalities_on_different_grids_are_refused(tmp_path):
    write(tmp_path / "a_0000.nii.gz", np.zeros(SHAPE))
    write(tmp_path / "a_0001.nii.gz", np.zeros(SHAPE), (3.0, 1.0, 1.0))
    files = (tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz")
    with pytest.raises(
        InputError, match=r"a_0001\.nii\.gz does not lie on the grid of a_0000\.nii\.gz.*spacing"
    ):
        read_image(files)
    write(tmp_path / "labelsTr" / "a.nii.gz", np.ones(SHAPE, np.uint8))
    (tmp_path / "cases.csv").write_text("image,label\na_0000.nii.gz|a_0001.nii.gz,labelsTr/a.nii.gz\n")
    problems = inspect_dataset(read_dataset(tmp_path / "cases.csv"))[1]
    assert [problem.fault for problem in problems] == ["geometry"]


def test_files_are_sorted_by_case_and_channel():
    names = ["b_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz", "a_0000.nrrd", "d_10000.nii.gz"]
    groups = group_channels(map(Path, names))
    assert {str(case): {n: str(file) for n, file in files.items()} for case, files in groups.items()} == {
        "b.nii.gz": {1: "b_0001.nii.gz", 0: "b_0000.nii.gz"},
        "a.nii.gz": {0: "a_0000.nii.gz"},
        "c.nii.gz": {0: "c.nii.gz"},
        "a.nrrd": {0: "a_0000.nrrd"},
        "d_10000.nii.gz": {0: "d_10000.nii.gz"},
    }
    assert Case((Path("b_0000.nii.gz"), Path("b_0001.nii.gz"))).name == "b"
    assert Case((Path("b_0000.nii.gz"),)).name == "b_0000"


def test_each_modality_is_scaled_as_its_kind_needs(ct_and_pet, tmp_path):
    dataset = read_dataset(ct_and_pet)
    config = FinetuneConfig(dataset=ct_and_pet, patch=(16, 32, 32), spacing=(2, 1, 1), batch_size=1)
    cache = Cache(tmp_path)
    prepared, storing = prepare_cases(dataset.cases, config, dataset, cache, lambda share: None, pytest.fail)
    assert storing.intensity == Intensities(channels=(HOUNSFIELD, BY_PERCENTILE))
    assert (storing.channels, storing.files) == (2, 2)
    stored = cache.open(prepared[0].key, "image")[:]
    assert abs(float(stored[0].max()) - 110) < 15  # Hounsfield units
    assert stored[1].max() == 1
    fitted = fit_intensity(storing, prepared, cache)
    ct, pet = fitted.intensity.channels
    assert abs(ct.mean - 100) < 2
    assert pet == BY_PERCENTILE
    assert Preprocessing.model_validate_json(fitted.model_dump_json()) == fitted
    image = read_image(dataset.cases[0].images)
    np.testing.assert_allclose(fitted.prepare(image), fitted.intensity.from_stored(stored), atol=0.1)


def test_a_model_of_two_modalities_predicts_folders_of_both(run, ct_and_pet, tmp_path):
    assert checkpoint.load(run.path).description.channels == {3: 2}
    for path in (ct_and_pet / "imagesTr").iterdir():
        if path.name != "p2_0001.nii.gz":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run.path), str(tmp_path), "--output", str(tmp_path / "out")])
    assert ended.value.code == 1  # p2 lacks a modality; the others are segmented
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["p0.nii.gz", "p1.nii.gz"]
    mask, source = engine.read(tmp_path / "out" / "p0.nii.gz"), engine.read(tmp_path / "p0_0000.nii.gz")
    assert source.geometry.difference(mask.geometry) is None
    assert set(np.unique(mask.array)) <= {0, 1}


def test_a_modality_alone_is_refused_with_what_is_needed(run, ct_and_pet, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "predict",
                str(run.path),
                str(ct_and_pet / "imagesTr" / "p0_0000.nii.gz"),
                "--output",
                str(tmp_path),
            ]
        )
    assert ended.value.code == 2
    assert "case_0000.nii.gz and case_0001.nii.gz" in capsys.readouterr().err


def test_flat_modalities_keep_their_channels(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        values = np.random.default_rng(len(name)).integers(0, 255, (1, 24, 24)).astype(np.uint8)
        engine.write(
            engine.Image(values, engine.Geometry.from_spacing((24, 24), units="pixel")),
            tmp_path / "images" / f"{name}.png",
        )
    for name in "ab":
        mask = np.ones((1, 24, 24), np.uint8)
        engine.write(
            engine.Image(mask, engine.Geometry.from_spacing((24, 24), units="pixel")),
            tmp_path / "masks" / f"{name}.png",
        )
    dataset = inspect_dataset(read_dataset(tmp_path))[0]
    config = FinetuneConfig(dataset=tmp_path, patch=(32, 32), batch_size=1)
    prepared, storing = prepare_cases(
        dataset.cases, config, dataset, Cache(tmp_path / "cache"), lambda share: None, pytest.fail
    )
    assert (storing.channels, storing.files, len(prepared)) == (2, 2, 2)
