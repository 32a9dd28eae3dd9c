"""What pre-training saves in labels: fine-tuning from different starts on fractions of the patients.

    python benchmarks/label_efficiency.py --output DIR
    python benchmarks/label_efficiency.py --output DIR --table

Every run has the same minutes on the same number of threads, the same cases, augmentation, loss, validation
and prediction; only weights, network and, for peers, the learning rate differ. The score is that of patients
who were neither trained nor validated on. Started again, the command goes on; started several times with one
folder, the processes share the work. Sets: UNIMISS_DATA.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from efficiency.results import Ledger, Result, table
from efficiency.starts import ARMS, NONE, PEERS, STARTS, fits, pretrain_arm, settings_of
from efficiency.tasks import TASKS, VALIDATION, data_of, test_score, training_patients

import unimiss
from unimiss.devices import keep_freed_memory
from unimiss.errors import InputError, Stopped, UnimissError
from unimiss.finetuning import FinetuneConfig, finetune
from unimiss.inference import Predictor
from unimiss.models import checkpoint
from unimiss.runs import State
from unimiss.settings import parse_assignments

FRACTIONS = (0.05, 0.1, 0.25, 1.0)
SINGLE = 10**9  # steps between checkpoints: a run that is interrupted begins again


@dataclass(frozen=True)
class Cell:
    """One fine-tuning."""

    task: str
    start: str
    fraction: float
    seed: int

    def __str__(self) -> str:
        return f"{self.task}-{self.start}-{self.fraction:g}-{self.seed}"


def cells(
    tasks: Sequence[str], starts: Sequence[str], fractions: Sequence[float], seeds: int
) -> Iterator[Cell]:
    """All runs, in order: everything with one seed before the next, so an early end leaves whole seeds."""
    for seed in range(seeds):
        for task in tasks:
            for fraction in fractions:
                for start in starts:
                    if fits(start, TASKS[task].kind):
                        yield Cell(task, start, fraction, seed)


def sources() -> str:
    """Hash of the engine's code: with other defaults or another loop, runs do not compare."""
    files = sorted(Path(unimiss.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def measure(cell: Cell, output: Path, minutes: float, extra: dict[str, Any]) -> Result:
    """Fine-tune and score one."""
    kind, dataset = TASKS[cell.task].kind, data_of(cell.task, output)
    values = {
        "dataset": dataset,
        "task": kind,
        "fraction": cell.fraction,
        "seed": cell.seed,
        "minutes": minutes,
        "checkpoint_every": SINGLE,
        **VALIDATION[kind],
        **TASKS[cell.task].settings,
        **settings_of(cell.start, output),
        **extra,
    }
    make = PEERS[cell.start].make if cell.start in PEERS else None
    folder = output / "runs" / str(cell)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was interrupted
    run = finetune(FinetuneConfig.build(values), folder, network=make)
    if run.state != State.FINISHED:
        raise Stopped(f"{cell} was stopped; the same command does it again")
    kept, last = (checkpoint.load(file, only=()).description for file in (run.best, run.last))
    network = make(kept) if make else kept.make_network()
    score, images = test_score(run, dataset, Predictor(run.best, network=make))
    result = {
        "run": str(cell),
        **vars(cell),
        "kind": kind,
        "test": score,
        "test_images": images,
        "validation": kept.training[{"segmentation": "dice", "classification": "auc"}[kind]],
        "steps": last.step,
        "kept_step": kept.step,
        "minutes": last.training["elapsed"] / 60,
        "patients": training_patients(run, dataset),
        "parameters": sum(weights.numel() for weights in network.parameters()),
    }
    shutil.rmtree(run.best.parent)  # of hundreds of runs they would fill the disk
    return result


def told(result: Result) -> str:
    """A result as a line for the screen."""
    return (
        f"{result['run']}: {result['test']:.3f} (validation {result['validation']:.3f}), "
        f"{result['steps']} steps, {result['patients']} patients, {result['parameters'] / 1e6:.1f} M weights"
    )


def work(ledger: Ledger, todo: Sequence[Cell], given: argparse.Namespace, extra: dict[str, Any]) -> int:
    """Do what nobody has done or is doing; return how many failed."""
    output, failed = ledger.folder, 0
    for task in {cell.task for cell in todo}:
        with ledger.claim(f"data-{task}", wait=True):
            data_of(task, output)
    arms = [arm for arm in ARMS if any(cell.start == arm for cell in todo)]
    for wait in (False, True):  # first those that nobody does, then until all are done
        for arm in arms:
            with ledger.claim(f"pretraining-{ARMS[arm]}", wait=wait) as mine:
                if mine:
                    pretrain_arm(arm, output, given.pretraining_steps)
    for cell in todo:
        with ledger.claim(str(cell)) as mine:
            if not mine or ledger.has(str(cell)):
                continue
            try:
                result = measure(cell, output, given.minutes, extra)
            except Stopped:
                raise
            except UnimissError as error:  # one that cannot be done, such as a fraction without a class
                print(f"{cell}: {error}", file=sys.stderr, flush=True)
                failed += 1
                continue
            ledger.add(result)
            print(told(result), flush=True)
    return failed


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    default = [NONE, *ARMS, "basicunet", "swinunetr", "densenet121"]
    parser.add_argument(
        "--starts",
        nargs="+",
        choices=STARTS,
        default=default,
        metavar="START",
        help=f"of {', '.join(STARTS)}",
    )
    parser.add_argument("--fractions", nargs="+", type=float, default=FRACTIONS, metavar="SHARE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each fine-tuning")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--pretraining-steps", type=int, default=1200)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every fine-tuning"
    )
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    return parser


def main() -> int:
    """Train, or print the table."""
    parser = arguments()
    if len(sys.argv) == 1:  # `make bench` runs every benchmark, and this one takes many hours
        parser.print_help()
        return 0
    given = parser.parse_args()
    ledger = Ledger(given.output.resolve())
    try:
        if not given.table:
            torch.set_num_threads(given.threads)
            keep_freed_memory()
            extra = parse_assignments(given.set)
            common = {"minutes": given.minutes, "threads": given.threads, "set": extra, "engine": sources()}
            ledger.settle(common)
            todo = list(cells(given.tasks, given.starts, given.fractions, given.seeds))
            failed = work(ledger, todo, given, extra)
            if failed:
                raise InputError(f"{failed} of {len(todo)} runs could not be done; see above")
    except (UnimissError, KeyboardInterrupt) as error:
        print(str(error) or "interrupted; the same command goes on", file=sys.stderr)
        return 1
    print(table(ledger.results(), STARTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
