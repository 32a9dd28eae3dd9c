"""The list of results that several processes share, its table, and other networks in the engine's own training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import unimiss as engine
from unimiss.data.datasets import Dataset
from unimiss.errors import InputError
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.inference import Predictor
from unimiss.runs import Run, State

pytest.importorskip("fcntl", reason="processes share a folder by the locks of Unix")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def ledger(tmp_path):
    from efficiency.results import Ledger

    return Ledger(tmp_path)


def result(start: str, test: float, *, seed: int = 0, fraction: float = 0.1, patients: int = 13):
    return {
        "run": f"lungs-{start}-{fraction:g}-{seed}",
        "task": "lungs",
        "kind": "segmentation",
        "start": start,
        "fraction": fraction,
        "seed": seed,
        "test": test,
        "patients": patients,
    }


def test_a_finished_run_is_not_done_again(ledger):
    ledger.add(result("none", 0.8))
    assert ledger.has("lungs-none-0.1-0")
    assert not ledger.has("lungs-none-0.1-1")


def test_a_torn_line_is_no_result_and_hides_none(ledger):
    ledger.add(result("none", 0.8))
    with open(ledger.file, "a") as file:
        file.write('{"run": "lungs-2d-0.1-0", "te')
    ledger.add(result("3d", 0.9))
    ledger.add(result("2d+3d", 0.9))
    assert [found["start"] for found in ledger.results()] == ["none", "3d", "2d+3d"]


def test_a_claim_keeps_others_away_while_it_is_held(ledger):
    with ledger.claim("one") as mine, ledger.claim("one") as again, ledger.claim("two") as other:
        assert (mine, again, other) == (True, False, True)
    with ledger.claim("one") as mine:
        assert mine


def test_the_claim_of_a_killed_process_ends_with_it(ledger):
    code = (
        "import sys, time; from pathlib import Path; from efficiency.results import Ledger\n"
        "with Ledger(Path(sys.argv[1])).claim('one') as mine:\n"
        "    print(mine, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, ledger.folder], cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "True\n"
    with ledger.claim("one") as mine:
        assert not mine
    began = time.monotonic()
    holder.kill()
    with ledger.claim("one", wait=True) as mine:
        assert mine
    assert time.monotonic() - began < 30
    holder.wait()


def test_runs_that_do_not_compare_are_kept_apart(ledger):
    ledger.settle({"minutes": 2.0, "set": {"patch": [32, 32]}})
    ledger.settle({"minutes": 2.0, "set": {"patch": [32, 32]}})
    with pytest.raises(InputError, match="take another --output"):
        ledger.settle({"minutes": 4.0, "set": {}})


def test_the_table_gives_means_and_deviations_over_seeds():
    from efficiency.results import table

    seeds = [result("none", score, seed=seed) for seed, score in enumerate((0.7, 0.8, 0.9))]
    others = [result("2d", 0.6), result("none", 0.95, fraction=1.0, patients=130)]
    assert table([*others, *seeds], ["none", "3d", "2d"]).splitlines() == [
        "| lungs, Dice | 10% (13 patients) | 100% (130 patients) |",
        "|---|---|---|",
        "| none | 0.800 ± 0.100 | 0.950 (1) |",
        "| 2d | 0.600 (1) | – |",
    ]


def test_an_early_end_leaves_whole_seeds_and_peers_have_their_tasks():
    from label_efficiency import cells

    found = list(cells(["lungs", "xray"], ["none", "basicunet", "densenet121"], [0.1, 1.0], 2))
    assert [cell.seed for cell in found] == [0] * 8 + [1] * 8
    assert {cell.start for cell in found if cell.task == "xray"} == {"none", "densenet121"}


class Counted(nn.Module):
    """A small foreign network: a batch norm, which counts in whole numbers, and one output."""

    def __init__(self, channels: int, classes: int, *, flat: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, classes) if flat else nn.Conv2d(4, classes, 1)

    def forward(self, x):
        maps = self.layers(x)
        return self.head(maps.mean(dim=(2, 3)) if isinstance(self.head, nn.Linear) else maps)


def write_cases(folder: Path, *, masks: bool) -> Path:
    rng = np.random.default_rng(0)
    rows = ["image,label"]
    for n in range(12):
        array = rng.normal(100, 10, (1, 40, 40))
        array[:, 10:30, 10:30] += 80 * (n % 2 or masks)
        geometry = engine.Geometry.from_spacing((40, 40), (1.0, 1.0))
        engine.write(engine.Image(array.astype(np.uint8), geometry), folder / f"p{n:02}.png")
        if masks:
            mask = np.zeros((1, 40, 40), np.uint8)
            mask[:, 10:30, 10:30] = 1
            engine.write(engine.Image(mask, geometry), folder / "truth" / f"p{n:02}.png")
        rows.append(f"p{n:02}.png,{f'truth/p{n:02}.png' if masks else ('dark', 'bright')[n % 2]}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def test_overlapping_classes_with_voxels_that_nobody_labelled_are_not_miscounted():
    from efficiency.tasks import dice

    dataset = Dataset("scans", "segmentation", (), {1: "heart", 2: "lungs"}, overlapping=True, unknown=(3,))
    with pytest.raises(InputError, match="scans: classes that overlap cannot be scored here beside 'ignore'"):
        dice(None, [], dataset)


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_another_network_is_trained_and_predicts_as_ours_would(task, tmp_path):
    dataset = write_cases(tmp_path / "data", masks=task == "segmentation")

    def make(description):
        return Counted(description.channels[2], len(description.labels), flat=task == "classification")

    settings = {"dataset": dataset, "task": task, "steps": 30, "patch": (32, 32), "lr": 0.03, "batch_size": 4}
    with pytest.raises(InputError, match="begin another network from none"):
        finetune(FinetuneConfig.build(settings), tmp_path / "run", network=make)
    config = FinetuneConfig.build({**settings, "init": None, "precision": "32-true"})
    assert finetune(config, tmp_path / "run", network=make).state == State.FINISHED
    run = Run(tmp_path / "run")
    with pytest.raises(InputError, match="do not fit"):
        Predictor(run.best)
    predictor = Predictor(run.best, network=make)
    image = engine.read(dataset.parent / "p01.png")
    if task == "classification":
        assert predictor.decide(predictor.classify(image)) == ["bright"]
    else:
        found = predictor.predict(image)
        assert found.geometry.shape == (40, 40)
        assert found.array[0, 20, 20] == 1
        assert found.array[0, 2, 2] == 0
