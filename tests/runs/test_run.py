from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from unimiss.errors import InputError, JobError
from unimiss.info import describe
from unimiss.runs import Run, State


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def other() -> Iterator[psutil.Process]:
    """Give another living process."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


def record(run: Run, pid: int, started: float, host: str | None = None) -> None:
    value = {"pid": pid, "started": started, "host": host or socket.gethostname()}
    run.process_file.write_text(json.dumps(value))


def append(run: Run, *lines: str) -> None:
    with open(run.events_file, "a", encoding="utf-8") as file:
        file.write("".join(lines))


def event(kind: str, **fields: object) -> str:
    return json.dumps({"time": 1.0, "kind": kind, **fields}) + "\n"


def test_a_folder_without_a_run_is_new_and_has_no_events(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "file" / "below"):
        run = Run(path)
        assert (run.state, list(run.events()), run.metrics(), run.exists()) == (State.NEW, [], [], False)


def test_a_torn_last_line_is_left_out_and_a_torn_line_in_between_skipped(run: Run) -> None:
    append(
        run, event("started"), '{"time": 1, "ki\n', '"text"\n', "[1]\n", event("finished"), '{"time": 2, "kin'
    )
    assert [found["kind"] for found in run.events()] == ["started", "finished"]


def test_new_events_come_once_and_only_when_complete(run: Run) -> None:
    assert run.new_events() == []
    first, second = event("started"), event("warning", message="größer")
    append(run, first, second[:20])
    assert [found["kind"] for found in run.new_events()] == ["started"]
    assert run.new_events() == []
    append(run, second[20:])
    assert [found["message"] for found in run.new_events()] == ["größer"]


def test_metrics_of_one_step_are_merged_and_steps_done_again_replaced(run: Run) -> None:
    for step in range(1, 6):
        append(run, event("metrics", step=step, loss=10.0 + step))
    append(run, event("metrics", step=5, dice=0.5), event("started", resumed=True))
    append(run, event("metrics", step=3, loss=3.0), event("metrics", step=4, loss=4.0), event("metrics"))
    found = [(line["step"], line["loss"]) for line in run.metrics()]
    assert found == [(1, 11), (2, 12), (3, 3), (4, 4)]
    append(run, event("metrics", step=4, dice=0.7))
    assert {"loss": 4, "dice": 0.7}.items() <= run.metrics()[-1].items()


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        ("stopped", State.STOPPED),
        ("finished", State.FINISHED),
        ("error", State.FAILED),
        (None, State.CRASHED),
    ],
)
def test_the_state_is_that_of_the_last_ending(run: Run, ending: str | None, state: State) -> None:
    append(run, event("started"), event("finished"), event("started"), event("progress", done=0.1))
    if ending:
        append(run, event(ending))
    assert run.state is state


def test_a_living_process_makes_the_run_running_and_refuses_another_writer(
    run: Run, other: psutil.Process
) -> None:
    append(run, event("started"))
    record(run, other.pid, other.create_time())
    assert run.state is State.RUNNING
    assert run.process() == other
    with pytest.raises(InputError, match=rf"process {other.pid} on .* is writing this run"):
        run.claim()
    other.kill()
    other.wait()
    assert run.state is State.CRASHED
    run.claim()
    assert run.process() == psutil.Process()


def test_a_process_that_ended_but_was_not_collected_does_not_count(run: Run) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    record(run, child.pid, process.create_time())
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not run.is_alive()
    child.wait()


def test_a_process_number_that_was_given_out_again_does_not_count(run: Run, other: psutil.Process) -> None:
    record(run, other.pid, other.create_time() - 3600)
    assert run.process() is None
    assert not run.is_alive()
    run.claim()


def test_a_process_on_another_machine_counts_until_it_says_that_it_ended(run: Run) -> None:
    record(run, 1, 1.0, host="node17")
    assert run.state is State.RUNNING
    assert run.process() is None
    with pytest.raises(InputError, match=r"process 1 on node17 .* delete process.json if it runs no more"):
        run.claim()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"pid": "x", "started": 1, "host": "h"}', "\x00" * 20]
)
def test_a_damaged_process_record_does_not_block_the_run(run: Run, damage: str) -> None:
    run.process_file.write_text(damage)
    assert run.process() is None
    with pytest.raises(InputError, match="is writing this run"):
        run.claim()  # somebody may be about to write it
    os.utime(run.process_file, (1, 1))
    run.claim()
    assert run.is_alive()
    run.release()
    assert not run.is_alive()
    assert run.state is State.NEW


def test_of_two_processes_that_claim_at_once_one_succeeds(tmp_path: Path) -> None:
    code = """
import sys, time
from unimiss.runs import Run
from unimiss.errors import InputError
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    Run(sys.argv[1]).claim()
    print("claimed", flush=True)
except InputError as error:
    print("refused", error, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(time.time() + 1.5)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [child.stdout.readline().split()[0] for child in children if child.stdout]
    for child in children:
        child.communicate()
    assert sorted(answers) == ["claimed", "refused", "refused"]


def test_a_request_to_stop_is_seen_and_an_old_one_forgotten(run: Run) -> None:
    run.stop()
    assert run.stop_file.exists()
    run.claim()
    assert run.stop_file.exists()  # asked for while the process was starting up
    os.utime(run.stop_file, (1, 1))
    run.release()
    run.stop()
    os.utime(run.stop_file, (1, 1))
    run.claim()
    assert not run.stop_file.exists()


def test_a_run_that_cannot_be_asked_to_stop_says_so(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"absent.stop could not be written"):
        Run(tmp_path / "absent").stop()


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file: the run folder cannot be written \(it is a file\)"):
        Run(tmp_path / "file").claim()
    with pytest.raises(InputError, match=r"below: the run folder cannot be written \(Not a directory\)"):
        Run(tmp_path / "file" / "below").claim()


@pytest.mark.parametrize("content", ["a: [", "- 1", "", "\x00", "text"])
def test_a_damaged_configuration_or_manifest_is_refused_by_name(run: Run, content: str) -> None:
    with pytest.raises(InputError, match=r"holds no run: there is no config.yaml"):
        run.config()
    with pytest.raises(InputError, match=r"manifest.json is missing or damaged"):
        run.manifest()
    run.config_file.write_text(content)
    run.manifest_file.write_text(content)
    with pytest.raises(InputError, match=r"config.yaml is damaged"):
        run.config()
    with pytest.raises(InputError, match=r"manifest.json is missing or damaged"):
        run.manifest()


def test_info_about_a_folder_of_runs_is_about_each_of_them(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"fold-{number}"
        folder.mkdir()
        append(Run(folder), event("started"), event("finished"))
    (tmp_path / "notes").mkdir()
    assert describe(tmp_path) == describe(tmp_path / "fold-0") + describe(tmp_path / "fold-1")
    (tmp_path / "notes").chmod(0)
    assert len(describe(tmp_path)) == 2 * len(describe(tmp_path / "fold-0"))
    assert describe(tmp_path / "fold-1")[0] == ("run", str(tmp_path / "fold-1"))
