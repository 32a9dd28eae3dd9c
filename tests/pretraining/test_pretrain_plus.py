"""Pre-training with the objective of UniMiSS+, from files to a fine-tuned network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unimiss import io
from unimiss.models import checkpoint
from unimiss.pretraining import PretrainConfig, pretrain
from unimiss.runs import Run, State

STEPS = 4
SETTINGS = {
    "objective": "unimiss+", "steps": STEPS, "seed": 3, "precision": "32-true", "checkpoint_every": 2,
    "batch_2d": 2, "batch_3d": 4, "size_2d": (32, 32), "size_3d": (4, 32, 32), "outputs": 16, "epoch_2d": 1,
    "epoch_3d": 1, "holdout": 0, "drop_path": 0.1, "decoder_drop_path": 0.1,
}  # fmt: skip
VOLUME = {
    "loss", "loss_volume_volume", "loss_slices_volume", "loss_drr_volume", "loss_reconstruction_volume",
    "loss_reconstruction_drr",
}  # fmt: skip


@pytest.fixture(scope="module")
def scans(torsos, tmp_path_factory) -> Path:
    """A folder of three CTs and a scan without Hounsfield units, and radiographs in its parent."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "volumes").mkdir()
    for number, file in enumerate(sorted((torsos / "imagesTr").glob("*.nii.gz"))):
        image = io.read(file)
        shifted = io.Image(image.array - image.array.min(), image.geometry)
        io.write(image if number else shifted, folder / "volumes" / file.name)
    (folder / "radiographs").symlink_to(torsos / "radiographs", target_is_directory=True)
    return folder


def config(scans: Path, **changes: object) -> PretrainConfig:
    data = {"images": [scans / "radiographs"], "volumes": [scans / "volumes"]}
    return PretrainConfig.build(SETTINGS | data | changes)


def losses(run: Run) -> list[dict[str, float]]:
    return [{k: v for k, v in m.items() if k.startswith("loss")} for m in run.metrics()]


@pytest.fixture(scope="module")
def whole(scans, tmp_path_factory) -> Run:
    return pretrain(config(scans), tmp_path_factory.mktemp("runs") / "whole")


def test_3d_and_2d_alternate_and_every_term_is_recorded(whole):
    assert whole.state == State.FINISHED
    terms = [set(entry) for entry in losses(whole)]
    assert terms[0] == terms[2] == VOLUME
    assert terms[1] == terms[3] == {"loss", "loss_image_image", "loss_reconstruction_image"}
    said = [event["message"] for event in whole.events() if event["kind"] == "warning"]
    assert len(said) == 1
    assert "Hounsfield" in said[0]


def test_the_checkpoint_reconstructs(whole):
    saved = checkpoint.load(whole.path)
    assert (saved.description.objective, saved.description.reconstruction) == ("unimiss+", True)
    assert saved.network().reconstructs


def test_stopped_and_resumed_it_gives_the_losses_of_an_uninterrupted_run(whole, scans, tmp_path):
    run = Run(tmp_path / "stopped")

    def stop_after_one(event: dict[str, object]) -> None:
        if event["kind"] == "metrics":
            run.stop()

    pretrain(config(scans), run.path, listener=stop_after_one)
    assert run.state == State.STOPPED
    assert len(run.metrics()) < STEPS
    pretrain(PretrainConfig.build(run.config()), run.path, resume=True)
    assert run.state == State.FINISHED
    for resumed, uninterrupted in zip(losses(run), losses(whole), strict=True):
        assert resumed == pytest.approx(uninterrupted, abs=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="two processes need gloo, which is tested on Unix")
def test_two_processes_of_torchrun_give_the_losses_of_one_with_the_same_global_batch(scans, tmp_path):
    """One of the four volumes of a batch has no radiograph: one process has two of them, the other one."""
    still = {"drop_path": 0.0, "decoder_drop_path": 0.0}
    one = pretrain(config(scans, **still), tmp_path / "one")
    both = Run(tmp_path / "two")
    given = [f"--set={k}={list(v) if isinstance(v, tuple) else v}" for k, v in (SETTINGS | still).items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "unimiss", "--", "pretrain", "--run", str(both.path), *given]
    places = ["--images", str(scans / "radiographs"), "--volumes", str(scans / "volumes")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *places], check=True, timeout=300, env=environment)
    for spread, single in zip(losses(both), losses(one), strict=True):
        assert spread == pytest.approx(single, abs=1e-4)


@pytest.mark.parametrize("network", ["tiny", "plus"])
def test_from_the_command_line_to_a_fine_tuned_network(network, torsos, tmp_path, unimiss):
    data = ["--images", torsos / "radiographs", "--volumes", torsos / "imagesTr"]
    small = "--set size_2d=[32,32] --set size_3d=[4,32,32] --set outputs=16 --set epoch_2d=1 --set epoch_3d=1"
    sizes = [*small.split(), "--set", "batch_2d=1", "--set", "batch_3d=1", "--steps", "2"]
    made = unimiss(
        "pretrain", "--objective", "unimiss+", "--network", network, *data, "--run", tmp_path / "a", *sizes
    )
    assert made.returncode == 0, made.stderr
    assert set(losses(Run(tmp_path / "a"))[0]) == VOLUME
    options = "--task segmentation --steps 1 --set patch=[16,32,32] --set batch_size=1".split()
    tuned = unimiss("finetune", torsos, "--init", tmp_path / "a", "--run", tmp_path / "b", *options)
    assert tuned.returncode == 0, tuned.stderr
    assert checkpoint.load(tmp_path / "b").description.network == network
