from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from unimiss.errors import InputError, JobError
from unimiss.runs import Run, State
from unimiss.runs.writer import RunWriter


def table(run: Run) -> list[dict[str, str]]:
    with open(run.metrics_file, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scalars(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(event.step, event.value) for event in EventAccumulator(str(folder)).Reload().Scalars("loss")]


def test_a_run_is_followed_by_events_table_and_tensorboard(tmp_path: Path) -> None:
    heard = []
    with RunWriter(tmp_path / "run", listener=heard.append) as writer:
        run = Run(tmp_path / "run")
        assert run.state is State.RUNNING
        writer.save_config({"steps": 2, "name": "größe"})
        writer.save_manifest({"cases": ["a"]})
        for step in (1, 2):
            writer.metrics(step, {"loss": 1 / step})
            writer.progress(step / 2, left=0)
        writer.warn("one case is empty")
        writer.event("finished")
    assert run.state is State.FINISHED
    assert run.config() == {"steps": 2, "name": "größe"}
    assert run.manifest() == {"cases": ["a"]}
    assert [event["loss"] for event in run.metrics()] == [1, 0.5]
    assert table(run) == [{"step": "1", "loss": "1.0"}, {"step": "2", "loss": "0.5"}]
    assert list(run.events()) == heard
    assert scalars(run.path) == [(1, 1.0), (2, 0.5)]
    assert not run.process_file.exists()


def test_an_existing_run_is_refused_unless_resumed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        RunWriter(tmp_path, resume=True)
    with RunWriter(tmp_path):
        pass  # ended before its settings were accepted: nothing to resume, nothing to lose
    with RunWriter(tmp_path) as writer:
        writer.save_config({})
        writer.event("stopped")
    with pytest.raises(InputError, match="already holds a run; add --resume"):
        RunWriter(tmp_path)
    with RunWriter(tmp_path, resume=True) as writer:
        assert writer.resumed
    assert [event.get("resumed") for event in Run(tmp_path).events()] == [False, False, None, True]


def test_an_error_is_recorded_with_its_sentence_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(JobError), RunWriter(tmp_path / "a"):
        raise JobError("the loss is not a number")
    with pytest.raises(KeyError), RunWriter(tmp_path / "b"):
        raise KeyError("case")
    messages = [list(Run(tmp_path / name).events())[-1]["message"] for name in "ab"]
    assert messages == ["the loss is not a number", "KeyError: 'case'"]
    assert Run(tmp_path / "a").state is State.FAILED
    assert not Run(tmp_path / "a").process_file.exists()


def test_text_that_is_no_unicode_is_recorded(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.nii")
    with RunWriter(tmp_path) as writer:
        writer.warn(name)
        writer.save_manifest({"cases": [name]})
    assert list(Run(tmp_path).events())[-1]["message"] == name
    assert Run(tmp_path).manifest() == {"cases": [name]}


def test_a_number_that_is_not_finite_leaves_the_line_json(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics(1, {"loss": float("nan")})

    def refuse(token: str) -> None:
        raise AssertionError(token)

    for line in writer.run.events_file.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    assert math.isnan(writer.run.metrics()[0]["loss"])


def test_resuming_repairs_torn_lines(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.save_config({})
        for step in (1, 2):
            writer.metrics(step, {"loss": 0.25})
    run = Run(tmp_path)
    for file in (run.events_file, run.metrics_file):
        file.write_bytes(file.read_bytes()[:-3])
    with RunWriter(tmp_path, resume=True) as writer:
        writer.metrics(2, {"loss": 0.5})
    assert [json.loads(line)["kind"] for line in run.events_file.read_text().splitlines()] == [
        *("started", "metrics"),
        *("started", "metrics"),
    ]
    assert [row["loss"] for row in table(run)] == ["0.25", "0.5"]


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.save_config({})
        for step in range(1, 6):
            writer.metrics(step, {"loss": float(step)})
    with RunWriter(tmp_path, resume=True) as writer:
        writer.forget_after(3)
        assert [row["step"] for row in table(writer.run)] == ["1", "2", "3"]
        writer.metrics(4, {"loss": 40.0, "dice": 0.5})
    assert [row["loss"] for row in table(writer.run)] == ["1.0", "2.0", "3.0", "40.0"]
    assert [(event["step"], event["loss"]) for event in writer.run.metrics()] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 40),
    ]
    assert scalars(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_forgetting_everything_leaves_a_table_that_can_go_on(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.forget_after(0)
        writer.metrics(1, {"loss": 1.0})
        writer.forget_after(0)
        assert table(writer.run) == []
        writer.metrics(1, {"loss": 2.0})
    assert table(writer.run) == [{"step": "1", "loss": "2.0"}]


def test_a_new_metric_widens_the_table(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.metrics(1, {"loss": 1.0})
        writer.metrics(2, {"loss": 2.0, "dice, mean": 0.5})
        writer.metrics(3, {"dice, mean": 0.6})
    assert [tuple(row.values()) for row in table(writer.run)] == [
        *(("1", "1.0", ""), ("2", "2.0", "0.5")),
        ("3", "", "0.6"),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"1,2\n3\n", b"step,loss\n1,2,3,4\n\xff,1\n", b"\x00" * 30]
)
def test_a_damaged_table_does_not_stop_the_run(tmp_path: Path, content: bytes) -> None:
    with RunWriter(tmp_path) as writer:
        writer.run.metrics_file.write_bytes(content)
        writer.forget_after(5)
        writer.metrics(6, {"loss": 1.0})
    assert table(writer.run)[-1]["loss"] == "1.0"


def test_a_processes_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", active=False) as writer:
        writer.metrics(1, {"loss": 1.0})
        writer.progress(1)
        writer.forget_after(0)
        writer.save_config({})
        writer.save_manifest({})
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_an_orderly_end(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with RunWriter(tmp_path) as writer:
        assert not writer.should_stop()
        os.kill(os.getpid(), number)
        assert writer.should_stop()
    assert signal.getsignal(number) is before


def test_a_stop_file_asks_for_an_orderly_end(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.save_config({})
        Run(tmp_path).stop()
        assert writer.should_stop()
    with RunWriter(tmp_path, resume=True) as writer:
        assert not writer.should_stop()


def test_a_run_outside_the_main_thread_works(tmp_path: Path) -> None:
    def work() -> None:
        with RunWriter(tmp_path) as writer:
            writer.event("finished")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert Run(tmp_path).state is State.FINISHED


def test_a_killed_run_has_crashed_and_goes_on(tmp_path: Path) -> None:
    code = f"""
import time
from unimiss.runs.writer import RunWriter
with RunWriter({str(tmp_path)!r}) as writer:
    writer.save_config({{}})
    print("ready", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    run = Run(tmp_path)
    assert run.state is State.RUNNING
    with pytest.raises(InputError, match=f"process {child.pid} on"), RunWriter(tmp_path, resume=True):
        pass
    assert run.state is State.RUNNING
    child.kill()
    child.wait()
    child.stdout.close()
    assert run.state is State.CRASHED
    with RunWriter(tmp_path, resume=True) as writer:
        writer.event("finished")
    assert run.state is State.FINISHED


def test_a_start_that_fails_leaves_the_folder_free(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "events.jsonl").mkdir()
    with (
        pytest.raises(JobError, match=r"events\.jsonl could not be written"),
        RunWriter(tmp_path),
    ):
        pass
    assert not (tmp_path / "process.json").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_one_sentence_and_leaves_what_was_written(
    tmp_path: Path, run_on_full_disk: Callable[[str], CompletedProcess[str]]
) -> None:
    done = run_on_full_disk("""
from unimiss.runs.writer import RunWriter
from unimiss.errors import UnimissError
try:
    with RunWriter("run") as writer:
        writer.save_manifest({"cases": []})
        writer.metrics(1, {"loss": 1.0})
        fill_disk(2000)
        for step in range(2, 1000):
            writer.metrics(step, {"loss": 1.0})
except UnimissError as error:
    print(error.exit_code, error)
""")
    assert done.stderr == ""
    assert done.stdout == "1 run/events.jsonl could not be written: File too large\n"
    run = Run(tmp_path / "run")
    assert run.events_file.read_bytes().endswith(b"}\n")
    assert [event["step"] for event in run.metrics()] == list(range(1, len(run.metrics()) + 1))
    assert len(table(run)) >= len(run.metrics()) - 1
    assert run.manifest() == {"cases": []}
    assert not [path for path in run.path.iterdir() if ".part" in path.name]


@pytest.mark.parametrize(
    "action", ['save_manifest({"cases": ["x" * 5000]})', 'save_config({"a": "x" * 5000})']
)
def test_a_full_disk_keeps_the_earlier_version_of_a_file(
    tmp_path: Path, action: str, run_on_full_disk: Callable[[str], CompletedProcess[str]]
) -> None:
    done = run_on_full_disk(f"""
from unimiss.runs.writer import RunWriter
from unimiss.errors import UnimissError
try:
    with RunWriter("run") as writer:
        writer.save_manifest({{"cases": []}})
        writer.save_config({{"a": 1}})
        fill_disk(2000)
        writer.{action}
except UnimissError as error:
    print(error.exit_code, error)
""")
    assert done.stderr == ""
    assert done.stdout.startswith("1 run/")
    run = Run(tmp_path / "run")
    assert (run.manifest(), run.config()) == ({"cases": []}, {"a": 1})
    assert run.state is State.FAILED
    assert not [path for path in run.path.iterdir() if ".part" in path.name]


def test_time_is_that_of_the_event(tmp_path: Path) -> None:
    before = time.time()
    with RunWriter(tmp_path):
        pass
    (started,) = Run(tmp_path).events()
    assert before <= started["time"] <= time.time()
