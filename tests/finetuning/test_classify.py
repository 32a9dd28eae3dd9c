"""Classification as a user runs it, on generated images: fine-tuned, stopped, predicted, refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import unimiss as engine
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.inference import Predictor
from unimiss.models import checkpoint
from unimiss.runs import Run, State

QUICK = "--task classification --init none --precision 32-true --set lr=0.001".split()
FLAT = ["--set", "patch=[32,32]", "--set", "batch_size=8"]


def picture(rng: np.random.Generator, shape: tuple[int, ...], *, bright: bool, large: bool) -> engine.Image:
    """Noise with a ball in its middle: bright or dark, large or small."""
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    ball = np.linalg.norm(places, axis=0) < (0.7 if large else 0.3)
    values = rng.normal(100, 10, shape) + np.where(ball, 60 if bright else -60, 0)
    geometry = engine.Geometry.from_spacing(shape, (1.0,) * len(shape))
    if len(shape) == 3:  # a CT, by its values
        return engine.Image((values - 700).astype(np.int16)[None], geometry)
    return engine.Image(values.astype(np.uint8)[None], geometry)


def write_folders(folder: Path, count: int, shape: tuple[int, ...], suffix: str) -> Path:
    rng = np.random.default_rng(0)
    for n in range(count):
        name = "healthy" if n % 2 else "ill"
        (folder / name).mkdir(parents=True, exist_ok=True)
        image = picture(rng, shape, bright=bool(n % 2), large=bool(n % 3))
        engine.write(image, folder / name / f"p{n:02}{suffix}")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> Path:
    return write_folders(tmp_path_factory.mktemp("radiographs"), 30, (40, 36), ".png")


@pytest.fixture(scope="module")
def run(unimiss, radiographs, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "classification"
    done = unimiss("finetune", radiographs, "--steps", 12, "--run", folder, *QUICK, *FLAT)
    assert done.returncode == 0, done.stderr
    return Run(folder)


def test_the_run_folder_holds_a_model_that_says_what_it_is(run):
    assert run.state == State.FINISHED
    assert {"auc", "loss", "lr"} <= set(run.metrics()[-1])
    description = checkpoint.load(run.path).description
    assert description.kind == "classification"
    assert description.labels == {0: "healthy", 1: "ill"}
    assert description.preprocessing.size == (32, 32)
    splits = run.manifest()["splits"]
    assert splits["test"]
    assert not set(splits["training"]) & set(splits["validation"])


def test_two_classes_are_learned_and_the_table_says_so(unimiss, run, radiographs, tmp_path):
    done = unimiss("predict", run.path, radiographs, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "predictions.csv")
    assert list(rows[0]) == ["image", "label", "healthy", "ill"]
    held_out = {Path(path).name for path in run.manifest()["splits"]["test"]}
    unseen = [row for row in rows if row["image"] in held_out]
    ill = [(radiographs / "ill" / row["image"]).exists() for row in unseen]
    assert roc_auc_score(ill, [float(row["ill"]) for row in unseen]) > 0.9
    for row in rows:
        assert float(row["healthy"]) + float(row["ill"]) == pytest.approx(1, abs=2e-6)
        assert float(row[row["label"]]) >= 0.5


def test_python_and_command_line_give_the_same_probabilities(unimiss, run, radiographs, tmp_path):
    path = sorted((radiographs / "ill").iterdir())[0]
    found = Predictor(run.path).classify(engine.read(path))
    assert unimiss("predict", run.path, path, "--output", tmp_path).returncode == 0
    (row,) = table(tmp_path / "predictions.csv")
    assert {name: float(row[name]) for name in found} == pytest.approx(found, abs=1e-6)


def test_mirrored_views_make_an_image_and_its_mirror_image_equal(unimiss, run, radiographs, tmp_path):
    image = engine.read(sorted((radiographs / "ill").iterdir())[0])
    mirrored = image.with_array(image.array[..., ::-1].copy())
    plain, both = Predictor(run.path), Predictor(run.path, mirror=True)
    assert both.classify(image) == pytest.approx(both.classify(mirrored), abs=1e-6)
    mean = (plain.classify(image)["ill"] + plain.classify(mirrored)["ill"]) / 2
    assert both.classify(image)["ill"] == pytest.approx(mean, abs=1e-6)
    path = sorted((radiographs / "ill").iterdir())[0]
    assert unimiss("predict", run.path, path, "--output", tmp_path, "--mirror").returncode == 0
    assert float(table(tmp_path / "predictions.csv")[0]["ill"]) == pytest.approx(mean, abs=2e-6)


def test_stopped_and_resumed_it_ends_with_the_weights_of_an_uninterrupted_run(unimiss, run, tmp_path):
    stopped = Run(tmp_path / "stopped")

    def stop(event: dict[str, object]) -> None:
        if event["kind"] == "metrics" and event["step"] == 5:
            stopped.stop()

    config = FinetuneConfig.build({**run.config(), "checkpoint_every": 100})
    finetune(config, stopped.path, listener=stop)
    assert stopped.state == State.STOPPED
    assert unimiss("finetune", "--run", stopped.path, "--resume").returncode == 0
    for part in ("network", "average"):
        one, other = (checkpoint.load(r.last, only="").part(part) for r in (stopped, run))
        assert one
        assert all(np.allclose(one[name], other[name], atol=1e-6) for name in other)


def test_cases_may_have_several_classes_or_none(unimiss, tmp_path):
    rng = np.random.default_rng(1)
    lines = ["image,bright,large"]
    for n in range(24):
        bright, large = bool(n % 2), n % 3 == 0
        engine.write(picture(rng, (32, 32), bright=bright, large=large), tmp_path / f"p{n}.png")
        lines.append(f"p{n}.png,{int(bright)},{int(large)}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    done = unimiss(
        "finetune", tmp_path / "cases.csv", "--steps", 20, "--run", tmp_path / "run", *QUICK, *FLAT
    )
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "run").description.overlapping
    predictor = Predictor(tmp_path / "run")
    found = predictor.classify(picture(rng, (32, 32), bright=True, large=False))
    other = predictor.classify(picture(rng, (32, 32), bright=False, large=False))
    assert found["bright"] > other["bright"]
    assert predictor.decide({"bright": 0.7, "large": 0.6}) == ["bright", "large"]
    assert predictor.decide({"bright": 0.1, "large": 0.2}) == []


def test_volumes_are_classified_whole(unimiss, tmp_path):
    folder = write_folders(tmp_path / "set", 10, (14, 30, 26), ".nii.gz")
    small = ["--set", "patch=[16,32,32]", "--set", "batch_size=4", "--run", tmp_path / "run"]
    done = unimiss("finetune", folder, "--steps", 8, *QUICK, *small)
    assert done.returncode == 0, done.stderr
    description = checkpoint.load(tmp_path / "run").description
    assert description.preprocessing.size == (16, 32, 32)
    assert description.preprocessing.intensity.scheme == "hounsfield"
    assert description.preprocessing.intensity.high < 0
    rng = np.random.default_rng(2)
    predictor = Predictor(tmp_path / "run")
    healthy, ill = (
        predictor.classify(picture(rng, (20, 40, 40), bright=bright, large=True)) for bright in (True, False)
    )
    assert healthy["healthy"] > ill["healthy"]


def test_one_bad_case_never_stops_the_others(unimiss, run, radiographs, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    path = sorted((radiographs / "ill").iterdir())[0]
    (inputs / "good.png").write_bytes(path.read_bytes())
    (inputs / "bad.png").write_bytes(path.read_bytes()[:60])
    done = unimiss("predict", run.path, inputs, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "bad.png" in done.stdout
    assert [row["image"] for row in table(tmp_path / "out" / "predictions.csv")] == ["good.png"]


def test_images_of_one_name_are_told_apart_by_their_paths(unimiss, run, radiographs, tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "same.png")
        paths[-1].write_bytes(sorted((radiographs / "ill").iterdir())[0].read_bytes())
    assert unimiss("predict", run.path, *paths, "--output", tmp_path / "out").returncode == 0
    rows = table(tmp_path / "out" / "predictions.csv")
    assert [row["image"] for row in rows] == [str(path) for path in paths]


def test_what_cannot_be_learned_or_asked_is_refused_in_a_sentence(
    unimiss, run, radiographs, torsos, tmp_path
):
    def refused(*given: object) -> str:
        done = unimiss(*given)
        assert done.returncode == 2
        return done.stderr

    finetune = ["finetune", radiographs, "--run", tmp_path / "run", *QUICK]
    assert "all cases are of the class ill" in refused(*finetune, "--set", "ignore=[healthy]")
    assert "spacing is for segmentation" in refused(*finetune, "--set", "spacing=[1,1,1]")
    assert "that validate have the same classes" in refused(*finetune, "--set", "validation_cases=1", *FLAT)
    assert "no training case is of the class" in refused(*finetune, "--set", "fraction=0.01")
    masks = ["finetune", torsos, "--run", tmp_path / "run", *QUICK]
    assert "is a data set for segmentation" in refused(*masks)
    image = sorted((radiographs / "ill").iterdir())[0]
    assert "holds all probabilities" in refused(
        "predict", run.path, image, "--output", tmp_path, "--format", "png"
    )
    with pytest.raises(InputError, match="it does not segment"):
        Predictor(run.path).predict(engine.read(image))
