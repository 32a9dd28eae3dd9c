"""Pre-training as a user runs it: killed, resumed, stopped, spread over two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unimiss.models import checkpoint
from unimiss.runs import Run, State

STEPS = 6
TINY = (
    "--steps 6 --seed 3 --precision 32-true --checkpoint-every 2 --set batch_2d=2 --set batch_3d=2 "
    "--set size_2d=[32,32] --set size_3d=[4,32,32] --set outputs=16 --set epochs_each=1 --set epoch_2d=1 "
    "--set epoch_3d=1 --set holdout=0 --set drop_path=0.1"
).split()


def arguments(run: Path, torsos: Path, *more: str) -> list[str]:
    images = ["--images", str(torsos / "radiographs"), "--volumes", str(torsos / "imagesTr")]
    return ["pretrain", *images, "--run", str(run), *TINY, *more]


def in_a_process(given: list[str]) -> list[str]:
    return [sys.executable, "-m", "unimiss", *given]


@pytest.fixture(scope="module")
def whole(unimiss, torsos, tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "whole")
    assert unimiss(*arguments(run.path, torsos)).returncode == 0
    return run


def losses(run: Run) -> list[dict[str, float]]:
    return [{k: v for k, v in m.items() if k.startswith("loss")} for m in run.metrics()]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop_after_a_step(run: Run) -> None:
    while not run.metrics():
        time.sleep(0.02)
    run.stop()


def test_2d_and_3d_take_turns_and_every_term_is_recorded(whole):
    assert whole.state == State.FINISHED
    terms = [set(entry) for entry in losses(whole)]
    assert terms[0] == terms[2] == {"loss", "loss_image_image"}
    volume = {"loss_volume_volume", "loss_slices_volume", "loss_slices_slices", "loss_volume_slices"}
    assert terms[1] == terms[3] == {"loss"} | volume
    assert [entry["step"] for entry in whole.metrics()] == list(range(1, STEPS + 1))


def test_the_checkpoint_is_a_backbone_for_both_dimensions(whole):
    saved = checkpoint.load(whole.path)
    assert saved.description.native == {2: (32, 32), 3: (4, 32, 32)}
    assert saved.description.step == STEPS
    assert saved.network().embed_dim == 48


def test_killed_and_resumed_it_gives_the_losses_of_an_uninterrupted_run(unimiss, whole, torsos, tmp_path):
    run = Run(tmp_path / "killed")
    process = subprocess.Popen(in_a_process(arguments(run.path, torsos)))
    wait_for(lambda: len(run.metrics()) >= 3, process)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    assert len(run.metrics()) < STEPS
    assert run.state == State.CRASHED
    with open(run.events_file, "a", encoding="utf-8") as file:
        file.write('{"time": 1, "kind": "metr')  # what a crash can leave
    assert unimiss("pretrain", "--run", run.path, "--resume").returncode == 0
    assert run.state == State.FINISHED
    for resumed, uninterrupted in zip(losses(run), losses(whole), strict=True):
        assert resumed == pytest.approx(uninterrupted, abs=1e-6)


def test_asked_to_stop_it_leaves_a_checkpoint_and_says_so(unimiss, torsos, tmp_path):
    run = Run(tmp_path / "stopped")
    somebody = threading.Thread(target=stop_after_a_step, args=(run,), daemon=True)
    somebody.start()
    assert unimiss(*arguments(run.path, torsos, "--steps", "100")).returncode == 0
    assert run.state == State.STOPPED
    assert checkpoint.load(run.path).description.step == run.metrics()[-1]["step"]


@pytest.mark.skipif(sys.platform == "win32", reason="two processes need gloo, which is tested on Unix")
def test_two_processes_give_the_losses_of_one_with_the_same_global_batch(unimiss, torsos, tmp_path):
    run = Run(tmp_path / "two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    more = ("--steps", "4", "--set", "drop_path=0")
    two = in_a_process(arguments(run.path, torsos, "--devices", "2", *more))
    subprocess.run(two, check=True, timeout=300, env=environment)
    one = Run(tmp_path / "one")
    assert unimiss(*arguments(one.path, torsos, *more)).returncode == 0
    for spread, single in zip(losses(run), losses(one), strict=True):
        assert spread == pytest.approx(single, abs=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="two processes need gloo, which is tested on Unix")
def test_a_signal_to_all_of_several_processes_stops_them_with_a_checkpoint(torsos, tmp_path):
    """As a terminal's Ctrl-C and a scheduler do it."""
    run = Run(tmp_path / "two")
    command = in_a_process(arguments(run.path, torsos, "--devices", "2", "--steps", "500"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_for(lambda: len(run.metrics()) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=200) == 0
    assert run.state == State.STOPPED
    assert checkpoint.load(run.last).description.step == len(run.metrics())
