"""A user's mistake gets a sentence and exit status 2; finished work stays."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unimiss as engine
from unimiss.cli import main
from unimiss.runs import Run


@pytest.fixture
def call(capsys):
    """Run the command line in this process; give its exit status and what it said on stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        run.said = said.out  # the warnings of a run are part of its progress
        return ended.value.code or 0, said.err

    return run


@pytest.fixture
def dataset(tmp_path):
    """Two minimal volumes and masks that can be read."""
    image = engine.Image(
        np.arange(4096, dtype=np.int16).reshape(1, 16, 16, 16), engine.Geometry.from_spacing((16, 16, 16))
    )
    for number, name in enumerate(("a", "b")):
        own = image.with_array(image.array + number)
        engine.write(own, tmp_path / "set" / "images" / f"{name}.nii.gz")
        mask = image.with_array((image.array > 2000).astype(np.uint8))
        engine.write(mask, tmp_path / "set" / "masks" / f"{name}.nii.gz")
    return tmp_path / "set"


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain", "--run", "r"),
        ("pretrain", "--images", "missing", "--run", "r"),
        ("pretrain", "--volumes", ".", "--run", "r"),
        ("pretrain", "--images", ".", "--run", "r", "--steps", "0"),
        ("pretrain", "--images", ".", "--run", "r", "--set", "surprise=1"),
        ("pretrain", "--images", ".", "--run", "r", "--set", "nonsense"),
        ("pretrain", "--images", ".", "--run", "r", "--config", "missing.yaml"),
        ("pretrain", "--run", "r", "--resume"),
        ("finetune", "missing", "--run", "r"),
        ("finetune", ".", "--run", "r"),
        ("finetune", ".", "--run", "r", "--init", "missing"),
        ("finetune", ".", "--run", "r", "--task", "singing"),
        ("finetune", ".", "--run", "r", "--fold", "9"),
        ("predict", "missing", "also-missing", "--output", "o"),
        ("evaluate", "missing", "also-missing"),
        ("info", "missing"),
        ("info", "text.txt"),
        ("info", "empty.nii.gz"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(call, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty.nii.gz").touch()
    status, said = call(*arguments)
    assert status == 2
    assert said.startswith("unimiss: ")
    assert "Traceback" not in said
    assert not (tmp_path / "r" / "config.yaml").exists()


@pytest.mark.parametrize("kind", ["truncated", "empty", "flat", "text"])
def test_a_case_that_cannot_be_used_is_named(call, dataset, tmp_path, kind):
    path = dataset / "images" / "a.nii.gz"
    if kind == "flat":
        engine.write(engine.Image(np.ones((1, 8, 8)), engine.Geometry.from_spacing((8, 8))), path)
    else:
        content = {"truncated": path.read_bytes()[:200], "empty": b"", "text": b"no image"}[kind]
        path.write_bytes(content)
    status, said = call("finetune", dataset, "--run", tmp_path / "run", "--steps", 1)
    assert status == 2
    assert said.startswith("unimiss: ")
    assert "a.nii.gz" in call.said or "mixes" in said


def test_a_run_folder_that_cannot_be_written_is_named(call, dataset, tmp_path):
    (tmp_path / "file").touch()
    status, said = call("finetune", dataset, "--run", tmp_path / "file" / "run", "--steps", 1)
    assert status == 2
    assert str(tmp_path / "file" / "run") in said


def test_a_finished_run_is_not_overwritten(call, dataset, tmp_path):
    tiny = ["--steps", 1, "--set", "patch=[16,32,32]", "--set", "batch_size=1"]
    assert call("finetune", dataset, "--run", tmp_path / "run", *tiny)[0] == 0
    before = (tmp_path / "run" / "checkpoints" / "last").read_bytes()
    status, said = call("finetune", dataset, "--run", tmp_path / "run", *tiny)
    assert status == 2
    assert "--resume" in said
    assert (tmp_path / "run" / "checkpoints" / "last").read_bytes() == before


def test_a_mask_on_another_grid_is_named(call, dataset, tmp_path):
    other = engine.Image(
        np.ones((1, 16, 16, 16), np.uint8), engine.Geometry.from_spacing((16, 16, 16), (2, 1, 1))
    )
    for name in ("a", "b"):
        engine.write(other, dataset / "masks" / f"{name}.nii.gz")
    status, said = call("finetune", dataset, "--run", tmp_path / "run", "--steps", 1)
    assert status == 2
    assert "2 problems" in said
    for name in ("a", "b"):
        assert (
            f"masks/{name}.nii.gz does not lie on its image {name}.nii.gz: its spacing is 2 x 1 x 1" in said
        )
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_full_disk_ends_a_training_with_a_sentence_and_keeps_the_last_checkpoint(run_on_full_disk, torsos):
    code = f"""
from unimiss.cli import main
from unimiss.runs import Run
arguments = ["finetune", {str(torsos)!r}, "--run", "run", "--precision", "32-true",
             "--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "validations=1"]
try:
    main([*arguments, "--steps", "1"])
except SystemExit as ended:
    assert not ended.code
fill_disk(1_000_000)
open("run/stop", "w").close()
main(["finetune", "--run", "run2", *arguments[1:2], "--steps", "2", *arguments[4:]])
"""
    done = run_on_full_disk(code)
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_first_attempt_does_not_occupy_the_run_folder(call, dataset, tmp_path):
    volumes = dataset / "images"
    assert call("pretrain", "--images", volumes, "--run", tmp_path / "run", "--steps", 1)[0] == 2
    status, said = call("pretrain", "--volumes", tmp_path / "missing", "--run", tmp_path / "run")
    assert status == 2
    assert "already holds a run" not in said


def test_resuming_changes_what_may_change_and_refuses_the_rest(call, dataset, tmp_path):
    tiny = ["--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "validations=1"]
    run = tmp_path / "run"
    assert call("finetune", dataset, "--run", run, "--steps", 1, *tiny)[0] == 0
    status, said = call("finetune", dataset, "--run", run, "--resume", "--seed", 5)
    assert status == 2
    assert "keeps its seed" in said
    again = ["--resume", "--steps", 2, "--set", "lr=0.00001"]
    assert call("finetune", dataset, "--run", run, *again, *tiny)[0] == 0
    metrics = Run(run).metrics()
    assert [entry["step"] for entry in metrics] == [1, 2]
    assert metrics[-1]["lr"] <= 1e-5


def test_broken_masks_and_missing_cases_are_left_out_by_name(call, dataset, tmp_path):
    listed = [
        {"image": f"images/{n}.nii.gz", "label": f"masks/{n}.nii.gz"} for n in ("a", "b", "gone", "c", "d")
    ]
    for number, name in enumerate(("c", "d"), start=2):
        image, mask = (engine.read(dataset / folder / "a.nii.gz") for folder in ("images", "masks"))
        engine.write(image.with_array(image.array + number), dataset / "images" / f"{name}.nii.gz")
        engine.write(mask, dataset / "masks" / f"{name}.nii.gz")
    broken = engine.read(dataset / "masks" / "c.nii.gz")
    engine.write(
        broken.with_array(np.full(broken.array.shape, np.nan, np.float32)), dataset / "masks" / "c.nii.gz"
    )
    (dataset / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "x"}, "training": listed})
    )
    tiny = ["--steps", 1, "--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "folds=2"]
    status, said = call("finetune", dataset, "--run", tmp_path / "run", *tiny)
    assert status == 0, said
    assert "gone.nii.gz" in call.said
    assert "c.nii.gz" in call.said


@pytest.mark.parametrize("labels", [{"-1": "x"}, {"70000": "x"}, ["background", "x"], {"x": [0, 2]}])
def test_label_tables_that_no_mask_can_hold_are_refused_before_training(call, dataset, tmp_path, labels):
    (dataset / "dataset.json").write_text(json.dumps({"labels": labels}))
    status, said = call("finetune", dataset, "--run", tmp_path / "run", "--steps", 1)
    assert status == 2
    assert "dataset.json" in said


def test_info_names_what_a_training_would_refuse(call, dataset):
    (dataset / "images" / "b.nii.gz").write_bytes((dataset / "images" / "a.nii.gz").read_bytes())
    status, said = call("info", dataset)
    assert status == 0, said
    assert "made for        segmentation" in call.said
    assert "b.nii.gz is the same image as" in call.said


def test_a_data_set_of_another_task_is_refused(call, dataset, tmp_path):
    (dataset / "cases.csv").write_text("image,label\nimages/a.nii.gz,x\nimages/b.nii.gz,y\n")
    status, said = call(
        "finetune", dataset / "cases.csv", "--task", "segmentation", "--run", tmp_path / "run"
    )
    assert status == 2
    assert "is a data set for classification" in said


def test_classes_are_joined_by_a_setting(call, dataset, tmp_path):
    tiny = ["--steps", 1, "--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "validations=1"]
    run = tmp_path / "run"
    status, said = call("finetune", dataset, "--run", run, *tiny, "--set", "labels={1: organ}")
    assert status == 0, said
    assert Run(run).manifest()["labels"] == {"0": "background", "1": "organ"}
    status, said = call("finetune", dataset, "--run", tmp_path / "r", *tiny, "--set", "ignore=[liver]")
    assert status == 2
    assert "no class 'liver'" in said


def test_an_accepted_fault_is_a_warning(call, dataset, tmp_path):
    mask = engine.read(dataset / "masks" / "b.nii.gz")
    engine.write(mask.with_array(np.zeros_like(mask.array)), dataset / "masks" / "b.nii.gz")
    tiny = ["--steps", 1, "--set", "patch=[16,32,32]", "--set", "batch_size=1", "--set", "validations=1"]
    status, said = call("finetune", dataset, "--run", tmp_path / "r", *tiny)
    assert status == 2
    assert "accept=[empty masks]" in said
    status, said = call(
        "finetune", dataset, "--run", tmp_path / "run", *tiny, "--set", "accept=[empty masks]"
    )
    assert status == 0, said
    assert "b.nii.gz is empty" in call.said
