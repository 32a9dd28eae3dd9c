"""``unimiss import`` on look-alikes of the official files, and fine-tuning from what it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.cli import main
from unimiss.runs import Run, State

SMALL_3D = "--set patch=[16,32,32] --set batch_size=1 --set validations=1 --steps 1".split()
SMALL_2D = "--set patch=[48,32] --set batch_size=1 --set validations=1 --steps 1".split()


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def weights(release, variant):
    shapes = release.manifest[variant]["state_dict"]
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 * (torch.rand(shape, generator=generator) - 0.5) for name, shape in shapes}


@pytest.fixture(scope="module")
def official(release, tmp_path_factory):
    student = {f"module.backbone.{name}": t for name, t in weights(release, "unimiss_tiny").items()}
    path = tmp_path_factory.mktemp("official") / "UniMiss_tiny.pth"
    torch.save({"student": student, "epoch": 5, "loss": {"center": torch.zeros(1, 8)}}, path)
    return path


def test_it_tells_what_became_of_the_file(official, tmp_path, capsys):
    model = tmp_path / "models" / "tiny"
    assert run("import", official, "--output", model, "--json", tmp_path / "account.json") == 0
    said = capsys.readouterr().out
    assert "unimiss_tiny" in said
    assert "student" in said
    assert "loss, 1 tensor" in said
    account = json.loads((tmp_path / "account.json").read_text())
    assert len(account["loaded"]) == len(torch.load(official)["student"])
    assert account["unused"] == ["loss/center"]
    assert run("info", model) == 0
    assert "20.4 M parameters" in capsys.readouterr().out


def test_a_model_that_exists_is_not_overwritten(official, tmp_path, capsys):
    (tmp_path / "kept").write_text("mine")
    assert run("import", official, "--output", tmp_path / "kept") == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "kept").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--part", "teacher"], "no teacher"),
        (["--head"], "no projection head"),
        (["--native", "5"], "no size"),
    ],
)
def test_a_mistake_gets_a_sentence(official, tmp_path, capsys, arguments, told):
    assert run("import", official, "--output", tmp_path / "model", *arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("variant", ["unimiss_tiny", "unimissplus", "segmentation3d_tiny"])
def test_fine_tuning_starts_from_it_in_2d_and_3d(release, torsos, tmp_path, capsys, variant, dimension):
    torch.save(weights(release, variant), tmp_path / "bare.pth")
    assert run("import", tmp_path / "bare.pth", "--output", tmp_path / "model") == 0
    dataset, sizes = (flat_dataset(torsos, tmp_path), SMALL_2D) if dimension == 2 else (torsos, SMALL_3D)
    folder = tmp_path / "run"
    code = run(
        "finetune",
        dataset,
        "--task",
        "segmentation",
        "--init",
        tmp_path / "model",
        "--run",
        folder,
        *sizes,
        "--set",
        "activation_checkpointing=true",
    )
    assert code == 0, capsys.readouterr().err
    assert Run(folder).state == State.FINISHED
    account = Run(folder).manifest()["weights"]
    if variant != "segmentation3d_tiny" or dimension == 3:
        assert any(f".{dimension}d" in name for name in account["loaded"])
    assert any(".mlp." in name for name in account["loaded"])
    assert Run(folder).config()["network"] == ("plus" if "plus" in variant else "tiny")


def flat_dataset(torsos, folder):
    """Radiographs and masks of the same names."""
    for source in (torsos / "radiographs").iterdir():
        image = engine.read(source)
        engine.write(image, folder / "flat" / "images" / f"{source.stem}.png")
        mask = image.with_array((image.array > np.median(image.array)).astype(np.uint8))
        engine.write(mask, folder / "flat" / "masks" / f"{source.stem}.png")
    return folder / "flat"


def test_pre_training_takes_the_network_of_its_first_weights(release, torsos, tmp_path, capsys):
    torch.save(weights(release, "unimissplus"), tmp_path / "bare.pth")
    assert run("import", tmp_path / "bare.pth", "--output", tmp_path / "model") == 0
    images = ("--images", torsos / "radiographs")
    sizes = "--set size_2d=[32,32] --set outputs=8 --set batch_2d=1 --set holdout=0 --steps 1".split()
    arguments = ("pretrain", *images, "--init", tmp_path / "model", "--run", tmp_path / "run", *sizes)
    assert run(*arguments, "--set", "activation_checkpointing=true") == 0, capsys.readouterr().err
    assert Run(tmp_path / "run").config()["network"] == "plus"


def test_pre_training_refuses_what_is_no_backbone_before_any_work(release, torsos, tmp_path, capsys):
    torch.save(weights(release, "classification3d_tiny"), tmp_path / "bare.pth")
    assert run("import", tmp_path / "bare.pth", "--output", tmp_path / "model") == 0
    images = ("--images", torsos / "radiographs")
    assert run("pretrain", *images, "--init", tmp_path / "model", "--run", tmp_path / "run") == 2
    assert "starts from a backbone" in capsys.readouterr().err
    assert not Run(tmp_path / "run").config_file.exists()


def test_the_account_does_not_replace_the_model(official, tmp_path, capsys):
    same = ("--output", tmp_path / "m", "--json", tmp_path / "m")
    assert run("import", official, *same) == 2
    assert "would be lost" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
