"""MiT and a step of pre-training against a plain implementation, same weights: time and peak memory.

``python benchmarks/networks.py [--network tiny|small] [--compiled] [--json FILE]``. Each measurement runs in
a process of its own, so that its peak memory is its own; nothing else should be running. That both give the
same numbers is checked first.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import plain
import torch
from torch import Tensor

from unimiss.devices import best_device, keep_freed_memory
from unimiss.models import Backbone
from unimiss.models.head import ProjectionHead
from unimiss.models.recompute import recompute
from unimiss.pretraining.batch import Batch
from unimiss.pretraining.objective import Learner, SelfDistillation, follow

SHAPES = {"2D": (8, 3, 224, 224), "3D": (2, 1, 16, 96, 96)}
OUTPUTS = 65_536
REPETITIONS = 5
PLAIN, KEPT, OURS = "plain", "plain, freed memory kept", "ours"
FORGETFUL, COMPILED = "ours, activation checkpointing", "ours, compiled"
FRUGAL = "ours, activation checkpointing, two parts"


def measure(way: str, work: str, dimension: str, precision: str, network: str) -> dict[str, float]:
    """Median seconds and peak GiB of one way to do one piece of work."""
    torch.manual_seed(0)
    device = best_device()
    student = Learner(Backbone(network), ProjectionHead(48, OUTPUTS)).to(device)
    shape = SHAPES[dimension]
    views = torch.randn(2 * shape[0], *shape[1:], device=device)
    score: Callable[[Learner, Tensor], dict[str, Tensor]] = lambda learner, x: learner(x)  # noqa: E731
    if way not in (PLAIN, FORGETFUL, FRUGAL):  # as the commands do
        keep_freed_memory()
    if way in (PLAIN, KEPT):
        score = lambda learner, x: plain.scores(learner.backbone, learner.head, x)  # noqa: E731
    check(student, views[:2, ..., :64, :64])
    recompute(student, way in (FORGETFUL, FRUGAL))
    if way == COMPILED:
        student.compile()
    call = forward(student, score, views, precision)
    if work == "step":
        parts = 2 if way == FRUGAL else 1
        fused = way not in (PLAIN, KEPT) and device.type == "cpu"
        call = step(student, score, views, precision, compiled=way == COMPILED, parts=parts, fused=fused)
    seconds = median_seconds(call, device)
    return {"seconds": seconds, "gib": peak_gib(device)}


def check(learner: Learner, views: Tensor) -> None:
    """Refuse to time two things that differ."""
    with torch.inference_mode():
        ours, theirs = learner(views), plain.scores(learner.backbone, learner.head, views)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-4, rtol=1e-4)


def forward(student: Learner, score: Callable, views: Tensor, precision: str) -> Callable[[], object]:
    """Scores of both views, without gradients."""
    student.eval()

    def call() -> object:
        with torch.inference_mode(), autocast(views, precision):
            return score(student, views)

    return call


def step(
    student: Learner,
    score: Callable,
    views: Tensor,
    precision: str,
    *,
    compiled: bool,
    parts: int,
    fused: bool,
) -> Callable[[], object]:
    """A step of pre-training: teacher, student, losses, gradients, AdamW, moving average."""
    batch = Batch(views, None, torch.tensor([], dtype=torch.long)).split(parts)
    teacher = Learner(Backbone(network_of(student)), ProjectionHead(48, OUTPUTS)).to(views.device)
    teacher.load_state_dict(student.state_dict())
    teacher.eval().requires_grad_(False)
    if compiled:
        teacher.compile()
    objective = SelfDistillation(OUTPUTS).to(views.device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=fused or None)
    student.train()

    def call() -> object:
        for part in batch:
            with autocast(views, precision):
                with torch.no_grad():
                    targets = score(teacher, part.views)
                scores = score(student, part.views)
            (objective(scores, targets)["loss"] / parts).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return follow(teacher, student, 0.99)

    return call


def network_of(learner: Learner) -> str:
    """Say whether a learner is tiny or small."""
    return "tiny" if len(learner.backbone.encoder.stages[0].blocks) == 1 else "small"


def autocast(views: Tensor, precision: str) -> torch.autocast:
    """Mixed precision, or none."""
    return torch.autocast(views.device.type, torch.bfloat16, enabled=precision == "bf16")


def median_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, after two that are not counted."""
    times = []
    for _ in range(REPETITIONS + 2):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def peak_gib(device: torch.device) -> float:
    """Peak memory of this process, on the GPU where there is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_a_process(*what: str) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, __file__, "--one", *what]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("tiny", "small"), default="small")
    parser.add_argument("--compiled", action="store_true", help="also compiled: minutes each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one)))
        return
    results = {}
    print("| work | precision | way | seconds | times as fast | peak GiB |\n|---|---|---|---|---|---|")
    for work, dimension in (("forward", "2D"), ("forward", "3D"), ("step", "2D"), ("step", "3D")):
        for precision in ("fp32", "bf16"):
            ways = [PLAIN, KEPT, OURS] + [FORGETFUL, FRUGAL] * (work == "step") + [COMPILED] * given.compiled
            for way in ways:
                found = in_a_process(way, work, dimension, precision, given.network)
                results[f"{work} {dimension} {precision} {way}"] = found
                base = results[f"{work} {dimension} {precision} plain"]["seconds"]
                ratio = base / found["seconds"]
                print(
                    f"| {work}, {dimension} | {precision} | {way} | {found['seconds']:.3f} | {ratio:.2f} "
                    f"| {found['gib']:.2f} |",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
