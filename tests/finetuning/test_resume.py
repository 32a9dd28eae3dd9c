"""A training that is killed or stopped anywhere and resumed ends as one that was not."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.errors import InputError, JobError
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.finetuning.classification import Classification
from unimiss.finetuning.loop import Finetuning
from unimiss.models import checkpoint
from unimiss.runs import Run, State

STEPS = 6
FIGURES = {1: 0.9, 2: 0.7, 3: 0.8, 5: 0.6, 6: 0.7}  # by the step


class Killed(BaseException):
    """The process ends here, without another word."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for n in range(10):
        name = "dark" if n % 2 else "bright"
        (folder / name).mkdir(exist_ok=True)
        image = engine.Image(
            rng.integers(0, 255, (1, 32, 32)).astype(np.uint8), engine.Geometry.from_spacing((32, 32))
        )
        engine.write(image, folder / name / f"p{n}.png")
    return folder


def settings(pictures: Path, **more: object) -> FinetuneConfig:
    given = {"dataset": pictures, "task": "classification", "init": None, "precision": "32-true"}
    small = {"patch": (32, 32), "batch_size": 2, "lr": 1e-3, "holdout": 0, "average": 0.5}
    length = {"steps": STEPS, "validations": 3, "checkpoint_every": 2}
    return FinetuneConfig.build({**given, **small, **length, **more})


@pytest.fixture(scope="module", autouse=True)
def figures():
    """Let each validation find what `FIGURES` says of its step."""
    now, step, restore = [0], Finetuning.step, Finetuning.restore

    def stepping(self, number, progress):
        now[0] = number + 1
        return step(self, number, progress)

    def restoring(self, saved):
        now[0] = saved.description.step
        restore(self, saved)

    def validating(self, network, device, precision, progress):
        progress(0.0)
        return {"auc": FIGURES[now[0]]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finetuning, "step", stepping)
        patch.setattr(Finetuning, "restore", restoring)
        patch.setattr(Classification, "validate", validating)
        yield


def kill(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int, *, after: bool) -> None:
    """End the process before or after a call of a method, counted from 1."""
    method, calls = getattr(owner, name), [0]

    def dying(*arguments, **named):
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        result = method(*arguments, **named)
        if calls[0] == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, dying)


def rows(run: Run) -> list[dict[str, str]]:
    with open(run.metrics_file, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def told(run: Run) -> list[dict[str, object]]:
    return [{n: v for n, v in event.items() if n not in ("time", "kind")} for event in run.metrics()]


def assert_equal(run: Run, other: Run) -> None:
    for file in ("last", "best"):
        one, two = (checkpoint.Checkpoint.load(getattr(r, file)) for r in (run, other))
        assert one.tensors.keys() == two.tensors.keys()
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
        assert one.description.step == two.description.step
        states = [{**c.description.training, "elapsed": 0} for c in (one, two)]
        assert states[0] == states[1]
    assert rows(run) == rows(other)
    assert told(run) == told(other)


@pytest.fixture(scope="module")
def whole(pictures, figures, tmp_path_factory) -> Run:
    run = finetune(settings(pictures), tmp_path_factory.mktemp("runs") / "whole")
    assert [event["step"] for event in run.metrics() if "auc" in event] == [3, 5, 6]
    assert checkpoint.load(run.best).description.step == 3
    return run


def resumed(run: Run, **changes: object) -> Run:
    return finetune(FinetuneConfig.build({**run.config(), **changes}), run.path, resume=True)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        *((Classification, "validate", n, False) for n in (1, 2, 3)),
        (checkpoint.Checkpoint, "save", 3, True),  # the best model, which no state knows yet
        (checkpoint.Checkpoint, "save", 4, True),  # the state that knows it
        (checkpoint.Checkpoint, "save", 9, False),  # the very last one
        (Finetuning, "step", 5, False),
    ],
    ids=[*(f"in validation {n}" for n in (1, 2, 3)), "best", "after validation", "end", "in a step"],
)
def test_killed_anywhere_and_resumed_it_ends_as_if_it_had_not_been(
    pictures, whole, tmp_path, owner, name, call, after
):
    run = Run(tmp_path / "killed")
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            finetune(settings(pictures), run.path)
    assert resumed(run).state == State.FINISHED
    assert_equal(run, whole)


@pytest.mark.parametrize("when", [("metrics", 2), ("metrics", 5), ("progress", 6)], ids=str)
def test_stopped_at_a_validation_and_resumed_it_ends_as_if_it_had_not_been(pictures, whole, tmp_path, when):
    run = Run(tmp_path / "stopped")

    def stop(event: dict[str, object]) -> None:
        if (event["kind"], event.get("step")) == when:
            run.stop()

    finetune(settings(pictures), run.path, listener=stop)
    assert run.state == State.STOPPED
    assert resumed(run).state == State.FINISHED
    assert_equal(run, whole)


def test_killed_in_its_only_validation_a_bounded_time_still_ends_with_a_best_model(pictures, tmp_path):
    run, bounded = Run(tmp_path / "run"), settings(pictures, steps="auto", minutes=1e-6, validations=1)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, Classification, "validate", 1, after=False)
        with pytest.raises(Killed):
            finetune(bounded, run.path)
    assert not run.best.exists()
    resumed(run)
    assert run.best.exists()
    assert [event["step"] for event in run.metrics() if "auc" in event and "loss" in event] == [1]


def warnings_of(run: Run) -> list[str]:
    return [event["message"] for event in run.events() if event["kind"] == "warning"]


def test_a_run_that_has_ended_early_says_how_to_go_on_and_does(pictures, tmp_path):
    run = finetune(settings(pictures, validations=6, patience=1, steps=3), tmp_path / "run")
    assert run.metrics()[-1]["step"] == 2
    resumed(run)
    assert run.metrics()[-1]["step"] == 2
    assert "with a patience of more than 1 it goes on" in warnings_of(run)[-1]
    resumed(run, patience=2)
    assert run.metrics()[-1]["step"] == 3


def test_a_loss_that_is_never_finite_does_not_send_to_a_checkpoint_that_is_not_there(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(Classification, "loss", lambda self, outputs, targets: outputs.sum() * torch.nan)
    with pytest.raises(JobError, match="up to step 3; begin again with a lower learning rate"):
        finetune(settings(pictures), tmp_path / "run")


def test_changed_images_and_classes_of_a_resumed_run_are_named(pictures, tmp_path):
    own = shutil.copytree(pictures, tmp_path / "own")
    run = finetune(settings(own, steps=1, validations=1), tmp_path / "run")
    changed = own / "dark" / "p1.png"
    image = engine.read(changed)
    engine.write(image.with_array(255 - image.array), changed)
    resumed(run)
    (warning,) = [text for text in warnings_of(run) if "changed since" in text]
    assert warning.startswith("1 images or their masks")
    assert str(changed) in warning
    shutil.copytree(own / "dark", own / "grey")
    for path in (own / "grey").iterdir():
        engine.write(image.with_array(image.array // 2 + int(path.stem[1:])), path)
    with pytest.raises(InputError, match=r"classes of this run and of its data set differ: .* and .*grey"):
        resumed(run)
