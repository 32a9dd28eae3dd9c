"""Recipes as a user runs them: each benchmark in small, in its own folders, to a model that predicts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_maker import MAKERS, SCR, jsrt, picture

import unimiss as engine
from unimiss.data.datasets import open_dataset
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig
from unimiss.finetuning.recipes import RECIPES, class_names
from unimiss.models import checkpoint
from unimiss.runs import Run, State

TINY = ["--steps", 2, "--init", "none", "--network", "tiny", "--precision", "32-true"]
QUICK = ["--set", "validations=1", "--set", "validation_cases=2"]
SMALL = {
    "bcv": "[16,32,32]",
    "chaos": "[16,32,32]",
    "ricord": "[16,32,32]",
    "jsrt": "[32,32]",
    "chestxr": "[32,32]",
    "isic": "[32,32]",
}
NAMES = {
    "bcv": {1: "spleen", 6: "liver", 13: "left adrenal gland"},
    "chaos": {63: "liver", 126: "right kidney", 189: "left kidney", 252: "spleen"},
    "ricord": {0: "no covid", 1: "covid"},
    "jsrt": {0: "background", 1: "heart", 2: "clavicles", 3: "lungs"},
    "chestxr": {0: "covid", 1: "normal", 2: "pneumonia"},
    "isic": {0: "basal cell carcinoma", 1: "melanoma", 2: "naevus"},
}
PUBLISHED: dict[str, dict[str, Any]] = {  # the fine-tuning table of the specification
    "bcv": {
        "task": "segmentation",
        "patch": (48, 192, 192),
        "batch_size": 2,
        "lr": 1e-4,
        "weight_decay": 3e-5,
        "schedule": "poly",
        "steps": 100 * 250,
        "clip": 12.0,
    },
    "ricord": {
        "task": "classification",
        "patch": (64, 128, 128),
        "batch_size": 8,
        "lr": 1e-5,
        "weight_decay": 5e-3,
        "schedule": "constant",
        "steps": 200 * 512 // 8,
        "patience": 30,
        "validations": 200,
    },
    "jsrt": {
        "task": "segmentation",
        "patch": (224, 224),
        "batch_size": 32,
        "lr": 1e-4,
        "eps": 1e-4,
        "weight_decay": 3e-5,
        "schedule": "poly",
        "rotation": 10.0,
        "mirror": True,
    },
    "chestxr": {
        "task": "classification",
        "patch": (224, 224),
        "batch_size": 32,
        "lr": 1e-4,
        "schedule": "poly",
        "epochs": 30.0,
        "rotation": 7.0,
        "mirror": True,
    },
}
PUBLISHED["chaos"] = PUBLISHED["bcv"]
PUBLISHED["isic"] = {**PUBLISHED["chestxr"], "rotation": 180.0}


def config(**values: Any) -> FinetuneConfig:
    return FinetuneConfig.build({"dataset": "d", **values})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_benchmark_trains_and_its_model_predicts(unimiss, name, tmp_path):
    dataset = MAKERS[name](tmp_path / "data")
    run = Run(tmp_path / "run")
    folds = ["--set", "folds=3"] if name == "isic" else []  # the first of five happens to be of one class
    small = ["--set", f"patch={SMALL[name]}", "--set", "batch_size=2", "--run", run.path]
    small += ["--set", "patience=null"]  # of one validation
    done = unimiss("finetune", dataset, "--recipe", name, *small, *TINY, *QUICK, *folds)
    assert done.returncode == 0, done.stderr
    assert run.state == State.FINISHED
    settings = run.config()
    assert settings["recipe"] == name
    kept = {"lr", "weight_decay", "eps", "schedule", "rotation", "mirror"} & set(PUBLISHED[name])
    assert {key: settings[key] for key in kept} == {key: PUBLISHED[name][key] for key in kept}
    labels = checkpoint.load(run.path).description.labels
    assert NAMES[name].items() <= labels.items()
    _predicts(unimiss, run, name, tmp_path / "out")


def _predicts(unimiss: Any, run: Run, name: str, output: Path) -> None:
    image = Path(run.manifest()["splits"]["validation"][0])
    done = unimiss("predict", run.path, image, "--output", output)
    assert done.returncode == 0, done.stderr
    if RECIPES[name].settings["task"] == "classification":
        with open(output / "predictions.csv", newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        assert row["label"] in NAMES[name].values()
        return
    masks = [path for path in output.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert len(masks) == (3 if name == "jsrt" else 1)  # overlapping classes in a picture of their own each
    assert {engine.read(mask).geometry.shape for mask in masks} == {engine.read(image).geometry.shape}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_settings_are_the_published_ones(name):
    found = config(recipe=name)
    assert {key: getattr(found, key) for key in PUBLISHED[name]} == PUBLISHED[name]


def test_intensities_are_the_published_ones():
    ricord, chestxr = config(recipe="ricord").intensity, config(recipe="chestxr").intensity
    assert ricord.apply(np.array([[-2000.0, 1000.0]])) == pytest.approx(
        np.array([[(-1024 - 158.58) / 324.7, (325 - 158.58) / 324.7]])
    )
    grey = np.array([[0.0, 51.0, 255.0]])
    assert chestxr.apply(grey) == pytest.approx((grey / 255 - 0.5056) / 0.252, abs=1e-4)


def test_what_is_given_overrides_the_recipe():
    found = config(recipe="jsrt", lr=1e-3, batch_size=4)
    assert (found.lr, found.batch_size, found.eps) == (1e-3, 4, 1e-4)
    assert (config(recipe="chestxr", steps=5).epochs, config(recipe="chestxr", steps=5).steps) == (None, 5)
    assert config(recipe="bcv", minutes=3).steps == "auto"
    assert config(recipe="bcv", epochs=2).steps == "auto"


def test_a_recipe_brings_its_network_only_where_no_weights_do():
    assert config(recipe="jsrt", init=None).network == "plus"
    assert config(recipe="jsrt", init=None, network="tiny").network == "tiny"
    assert "network" not in config(recipe="jsrt").model_fields_set


def test_no_recipe_changes_nothing():
    assert config(recipe="auto") == config()


def test_resolved_settings_of_a_run_are_not_resolved_again():
    found = config(recipe="bcv", patch=[16, 32, 32], steps=2)
    assert FinetuneConfig.build(found.model_dump()) == found


def test_an_unknown_recipe_and_a_new_one_on_the_way_are_refused_in_a_sentence(unimiss, tmp_path):
    done = unimiss("finetune", tmp_path, "--recipe", "brats", "--run", tmp_path / "run")
    assert done.returncode == 2
    assert "recipe: input should be 'auto', 'bcv'" in done.stderr
    assert "found 'brats'" in done.stderr


def test_a_recipe_for_volumes_is_named_where_the_images_are_flat(unimiss, torsos, tmp_path):
    masks = tmp_path / "set" / "masks"
    masks.mkdir(parents=True)
    (tmp_path / "set" / "images").symlink_to(torsos / "radiographs")
    for path in (torsos / "radiographs").iterdir():
        image = engine.read(path)
        engine.write(image.with_array((image.array > 128).astype(np.uint8)), masks / path.name)
    given = ["finetune", tmp_path / "set", "--run", tmp_path / "run", "--set", "init=none"]
    done = unimiss(*given, "--recipe", "bcv")
    assert done.returncode == 2
    assert "patch = [48, 192, 192] of the recipe bcv does not fit: the images have 2 axes" in done.stderr
    done = unimiss(*given, "--set", "spacing=[1,1,1]")
    assert "spacing is for volumes" in done.stderr
    for path in (torsos / "radiographs").iterdir():
        image = engine.read(path)
        engine.write(image.with_array(np.zeros_like(image.array)), masks / path.name)
    last = sorted(masks.iterdir())[-1]
    engine.write(engine.read(last).with_array(np.ones_like(engine.read(last).array)), last)
    unlabelled = 0
    for fold in (0, 1):
        options = ["--fold", fold, "--steps", 1, "--set", "patch=[32,32]", "--set", "accept=[empty masks]"]
        done = unimiss(*given, *options, "--run", tmp_path / str(fold))
        unlabelled += "cases that validate are empty" in done.stderr
    assert unlabelled == 1
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    settings = config(recipe="bcv", dataset=tmp_path).model_dump(mode="json")
    (run / "config.yaml").write_text(
        "\n".join(f"{k}: {v}" for k, v in settings.items() if k in ("dataset", "recipe"))
    )
    done = unimiss("finetune", "--run", run, "--resume", "--recipe", "chaos")
    assert done.returncode == 2
    assert "a resumed run keeps its recipe" in done.stderr


def test_names_that_a_copy_of_the_data_set_lacks_are_passed_over(tmp_path):
    def labels(root: Path, **chosen: Any) -> list[str]:
        quiet = {"accept": (), "report": lambda share: None, "warn": pytest.fail, "ignore": ()}
        found = open_dataset(root, names=class_names("jsrt"), **{"labels": {}, **quiet, **chosen})
        return list(found.labels.values())

    for folder in ("Images", "Masks/heart", "Masks/clavicle"):  # as the release has them
        picture(tmp_path / "release" / folder / "JPCLN001.png", 255 * np.eye(8))
    assert labels(tmp_path / "release") == ["background", "heart", "clavicles"] or labels(
        tmp_path / "release"
    ) == ["background", "clavicles", "heart"]
    scr = jsrt(tmp_path / "scr")
    assert set(labels(scr)) == {"background", "heart", "lungs", "clavicles"}
    assert set(labels(scr, ignore=["heart"])) == {"background", "lungs", "clavicles"}
    with pytest.raises(InputError, match="has no class 'left lung'"):
        labels(scr, labels={SCR[2]: "air"})
