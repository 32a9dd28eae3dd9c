"""Results as they come in, who works on which, and their table. Needs neither torch nor data."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from unimiss.errors import InputError
from unimiss.runs import atomic

Result = dict[str, Any]
METRICS = {"segmentation": "Dice", "classification": "AUC"}


class Ledger:
    """Results in a folder that several processes share.

    Parameters
    ----------
    folder : Path
        Holds `results.jsonl`, a line for each finished run, and `claims/`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "results.jsonl"

    def results(self) -> list[Result]:
        """All finished runs; a line that was torn by a crash is none."""
        found = []
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def has(self, name: str) -> bool:
        """Whether the run of that name is finished."""
        return any(result["run"] == name for result in self.results())

    def add(self, result: Result) -> None:
        """Append a line, in one piece and to the disk; one that a crash has torn is ended first."""
        torn = self.file.exists() and not self.file.read_bytes().endswith(b"\n")
        line = ("\n" * torn + json.dumps(result) + "\n").encode()
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold `name` against all other processes; the claim of one that dies ends with it.

        Yields
        ------
        bool
            Whether it is held: without `wait`, not while another process holds it.
        """
        path = self.folder / "claims" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write down what all runs have in common; refuse a folder whose runs had something else."""
        path = self.folder / "settings.json"
        if not path.exists():
            atomic.write_json(path, settings)
        settled = json.loads(path.read_text(encoding="utf-8"))
        for name, value in json.loads(json.dumps(settings)).items():
            if settled.get(name) != value:
                raise InputError(
                    f"{path}: the runs there have {name} = {settled.get(name)}, not {value}; "
                    "their figures do not compare: take another --output"
                )


def table(results: Iterable[Result], starts: Sequence[str]) -> str:
    """Markdown: for each task a table of the test scores, mean ± standard deviation over the seeds."""
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result["task"], []).append(result)
    return "\n\n".join(_of_task(task, found, starts) for task, found in by_task.items())


def _of_task(task: str, results: Sequence[Result], starts: Sequence[str]) -> str:
    fractions = sorted({result["fraction"] for result in results})
    heads = [f"{fraction:.0%} ({_patients(results, fraction)} patients)" for fraction in fractions]
    lines = [f"| {task}, {METRICS[results[0]['kind']]} | {' | '.join(heads)} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for start in starts:
        found = [
            [r["test"] for r in results if (r["start"], r["fraction"]) == (start, fraction)]
            for fraction in fractions
        ]
        if any(found):
            lines.append(f"| {start} | {' | '.join(map(_cell, found))} |")
    return "\n".join(lines)


def _patients(results: Sequence[Result], fraction: float) -> str:
    counts = sorted({result["patients"] for result in results if result["fraction"] == fraction})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _cell(scores: Sequence[float]) -> str:
    """One seed has no deviation, and fewer seeds than three are said."""
    if not scores:
        return "–"
    spread = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
    count = f" ({len(scores)})" if len(scores) < 3 else ""
    return f"{fmean(scores):.3f}{spread}{count}"
