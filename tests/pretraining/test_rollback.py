"""Losses that are not finite: steps are left out, then weights go back to the last checkpoint, then the run ends."""

import pytest
import torch

from unimiss.cli import main
from unimiss.errors import JobError
from unimiss.models import checkpoint
from unimiss.pretraining.loop import Pretraining
from unimiss.runs import Run, State
from unimiss.runs.writer import RunWriter

SETTINGS = "size_2d=[32,32] batch_2d=1 outputs=8 holdout=0 checkpoint_every=2".split()


@pytest.fixture
def pretrain(torsos, tmp_path, monkeypatch):
    """Pre-train; the losses of some passes, counted from 1, are not finite."""

    def run(steps, spoiled):
        passes, real = [], Pretraining._pass

        def _pass(self, batch, center, parts):
            passes.append(None)
            losses = real(self, batch, center, parts)
            return losses | {"loss": float("nan")} if len(passes) in spoiled else losses

        monkeypatch.setattr(Pretraining, "_pass", _pass)
        sets = [word for setting in SETTINGS for word in ("--set", setting)]
        arguments = ["--images", torsos / "radiographs", "--steps", steps, "--run", tmp_path / "run", *sets]
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", *map(str, arguments)])
        return Run(tmp_path / "run"), ended.value.code or 0

    return run


def warnings(run):
    return [event["message"] for event in run.events() if event["kind"] == "warning"]


def test_single_steps_are_left_out(pretrain):
    run, code = pretrain(6, {3, 4})
    assert (code, run.state) == (0, State.FINISHED)
    assert sum("not finite" in text for text in warnings(run)) == 2
    assert not any("are back" in text for text in warnings(run))


def test_three_in_a_row_bring_back_the_last_checkpoint(pretrain):
    run, code = pretrain(8, {5, 6, 7})
    assert (code, run.state) == (0, State.FINISHED)
    assert any("the weights of step 4 are back" in text for text in warnings(run))
    assert len(run.metrics()) == 8


def test_a_second_incident_after_a_checkpoint_is_mended_too(pretrain):
    run, code = pretrain(14, {5, 6, 7, 10, 11, 12})
    assert (code, run.state) == (0, State.FINISHED)
    assert sum("are back" in text for text in warnings(run)) == 2


def test_what_does_not_mend_ends_the_run_with_its_checkpoint(pretrain):
    run, code = pretrain(20, set(range(5, 30)))
    assert code == 1
    assert run.state == State.FAILED
    assert run.last.exists()


def test_a_failure_after_a_step_keeps_that_step_and_counts_it_once(pretrain, monkeypatch, tmp_path):
    """Were it saved as the step before, a resumed run would do it twice."""
    real = RunWriter.metrics

    def metrics(self, step, values):
        if step == 3:
            raise JobError("the disk is full")
        real(self, step, values)

    monkeypatch.setattr(RunWriter, "metrics", metrics)
    run, code = pretrain(5, set())
    assert code == 1
    assert checkpoint.load(run.last).description.step == 3
    monkeypatch.setattr(RunWriter, "metrics", real)
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--run", str(run.path), "--resume"])
    assert not ended.value.code
    resumed = checkpoint.load(run.last).part("network")
    run.path.rename(tmp_path / "resumed")
    whole, code = pretrain(5, set())
    assert code == 0
    for name, tensor in checkpoint.load(whole.last).part("network").items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-6, rtol=0)
