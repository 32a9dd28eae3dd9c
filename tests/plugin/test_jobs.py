import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from napari_unimiss import children, jobs
from napari_unimiss.children import Ending, Outcome
from unimiss.errors import InputError
from unimiss.runs import Run, State

WAIT = 20_000  # ms


def order(folder: Path, **options) -> jobs.Order:
    return jobs.Order("Training", ["--run", str(folder)], folder, **options)


class Record:
    """A started job and everything that it sent."""

    def __init__(self, asked: jobs.Order) -> None:
        self.job = jobs.start(asked)
        self.progress, self.metrics, self.lines, self.endings = [], [], [], []
        self.job.progress.connect(self.progress.append)
        self.job.metrics.connect(self.metrics.extend)
        self.job.log.connect(self.lines.append)
        self.job.ended.connect(self.endings.append)
        self.job.begin()


@pytest.fixture
def run(qtbot, tmp_path, behave):
    def start(behaviour: str, **options) -> Record:
        behave(behaviour)
        return Record(order(tmp_path / "run", **options))

    return start


def until_it_works(qtbot, record: Record) -> None:
    qtbot.waitUntil(lambda: len(record.metrics) > 3, timeout=WAIT)


def until_the_end(qtbot, record: Record):
    qtbot.waitUntil(lambda: bool(record.endings), timeout=WAIT)
    assert not record.job.child or not psutil.pid_exists(record.job.child.process.pid)
    assert jobs.current() is None
    return record.endings[0]


def test_a_job_is_followed_to_its_end(qtbot, run):
    record = run("short", collect=lambda: 42)
    ending = until_the_end(qtbot, record)
    assert (ending.outcome, ending.result) == (Outcome.FINISHED, 42)
    assert [event["step"] for event in record.metrics if "loss" in event] == list(range(1, 21))
    assert record.progress[-1]["done"] == 1
    assert record.endings == [ending]


def test_what_is_delivered_makes_the_ending(qtbot, run):
    record = run(
        "short",
        collect=lambda: 42,
        deliver=lambda found: Ending(Outcome.FINISHED, f"{found}!", doubtful=True),
    )
    assert until_the_end(qtbot, record) == Ending(Outcome.FINISHED, "42!", doubtful=True)
    assert record.lines[-1] == "42!"


@pytest.mark.parametrize(
    ("error", "said"),
    [(InputError("it does not fit"), "it does not fit"), (ZeroDivisionError("odd"), "unexpectedly")],
)
def test_what_cannot_be_delivered_is_a_failure(qtbot, run, error, said):
    def deliver(_):
        raise error

    ending = until_the_end(qtbot, run("short", collect=lambda: 42, deliver=deliver))
    assert ending.outcome is Outcome.FAILED
    assert said in ending.message


def test_an_ended_job_keeps_no_images(qtbot, run):
    class Pixels:
        pass

    image, mask = Pixels(), Pixels()
    gone = [weakref.ref(image), weakref.ref(mask)]
    record = run("short", prepare=partial(id, image), collect=lambda mask=mask: mask)
    del image, mask
    until_the_end(qtbot, record)
    record.endings.clear()
    qtbot.waitUntil(lambda: gc.collect() >= 0 and [one() for one in gone] == [None, None], timeout=WAIT)
    assert record.job.ending.outcome is Outcome.FINISHED


def test_stop_keeps_a_checkpoint(qtbot, run, tmp_path):
    record = run("long")
    until_it_works(qtbot, record)
    record.job.stop()
    ending = until_the_end(qtbot, record)
    assert ending.outcome is Outcome.STOPPED
    assert "checkpoint is kept" in ending.message
    assert Run(tmp_path / "run").last.exists()
    assert Run(tmp_path / "run").state is State.STOPPED


def test_stop_before_the_work_has_begun(qtbot, run):
    record = run("long")
    record.job.stop()
    ending = until_the_end(qtbot, record)
    assert ending.outcome is Outcome.STOPPED


def test_cancel_in_the_activity_dock_stops(qtbot, run):
    record = run("long")
    until_it_works(qtbot, record)
    record.job._bar.cancel()
    assert until_the_end(qtbot, record).outcome is Outcome.STOPPED


def test_a_deaf_child_can_be_ended(qtbot, run):
    record = run("deaf")
    until_it_works(qtbot, record)
    record.job.stop()
    qtbot.wait(600)
    assert record.job.running
    record.job.kill()
    assert until_the_end(qtbot, record).outcome is Outcome.STOPPED


def test_a_second_job_is_refused(qtbot, run, tmp_path):
    record = run("long")
    scratch = TemporaryDirectory()
    with pytest.raises(InputError, match="Training is still running"):
        jobs.start(order(tmp_path / "other", scratch=scratch))
    assert not os.path.exists(scratch.name)
    record.job.kill()
    until_the_end(qtbot, record)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_child_is_reported_in_words(qtbot, run):
    record = run("long")
    until_it_works(qtbot, record)
    os.kill(record.job.child.process.pid, signal.SIGKILL)
    ending = until_the_end(qtbot, record)
    assert ending.outcome is Outcome.FAILED
    assert "killed from outside" in ending.message
    assert "memory" in ending.message


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_crash_is_reported_in_words(qtbot, run):
    ending = until_the_end(qtbot, run("segfault"))
    assert ending.outcome is Outcome.FAILED
    assert "crashed (SIGSEGV)" in ending.message


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("refuse", "the folder holds no images; choose another one."),
        ("disk full", "the disk is full; make room and resume the run"),
    ],
)
def test_the_engines_own_sentence_is_shown(qtbot, run, behaviour, sentence):
    ending = until_the_end(qtbot, run(behaviour))
    assert (ending.outcome, ending.message) == (Outcome.FAILED, sentence)


def test_a_traceback_stays_in_the_log(qtbot, run, tmp_path):
    ending = until_the_end(qtbot, run("traceback"))
    assert "ZeroDivisionError: by a test" in ending.message
    assert "Traceback" not in ending.message
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_only_what_this_command_wrote_counts(qtbot, run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").write_text("Traceback of yesterday\n")
    assert "yesterday" not in until_the_end(qtbot, run("refuse")).message


def test_failing_preparation_is_a_sentence_and_leaves_nothing(qtbot, run):
    def prepare() -> None:
        raise InputError("the layer cannot be written")

    scratch = TemporaryDirectory()
    ending = until_the_end(qtbot, run("short", prepare=prepare, scratch=scratch))
    assert (ending.outcome, ending.message) == (Outcome.FAILED, "the layer cannot be written")
    assert not os.path.exists(scratch.name)


def test_a_log_that_cannot_be_written_is_a_sentence(qtbot, tmp_path):
    (tmp_path / "run").write_text("a file")
    ending = until_the_end(qtbot, Record(order(tmp_path / "run")))
    assert ending.outcome is Outcome.FAILED
    assert "could not be written" in ending.message


def test_a_child_that_is_left_goes_on(qtbot, run):
    record = run("long")
    until_it_works(qtbot, record)
    record.job.leave()
    qtbot.waitUntil(lambda: bool(record.endings), timeout=WAIT)
    assert record.endings[0].outcome is Outcome.LEFT
    child = psutil.Process(record.job.child.process.pid)
    jobs.end_all()
    assert child.is_running()
    child.kill()
    qtbot.waitUntil(lambda: not psutil.pid_exists(child.pid), timeout=WAIT)  # laid to rest by its thread


def test_the_end_of_the_program_ends_the_child(qtbot, run, tmp_path):
    record = run("long")
    until_it_works(qtbot, record)
    jobs.end_all()
    assert not psutil.pid_exists(record.job.child.process.pid)
    assert Run(tmp_path / "run").last.exists()
    until_the_end(qtbot, record)


def test_an_ended_worker_thread_ends_the_child(qtbot, run):
    record = run("long")
    until_it_works(qtbot, record)
    record.job._worker.quit()  # what napari does with every worker when a window closes
    assert until_the_end(qtbot, record).outcome is Outcome.STOPPED


def test_the_viewers_thread_stays_free(qtbot, run):
    record = run("long")
    gaps, last = [], time.monotonic()
    while len(record.metrics) < 60:
        qtbot.wait(5)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
        assert len(gaps) < 4000
    assert max(gaps) < 0.5
    record.job.kill()
    until_the_end(qtbot, record)


def test_windows_exit_codes_have_words():
    assert "0xc0000005" in children._violent_end(0xC0000005)


PROGRAM = """
import subprocess, sys, time
from pathlib import Path
from qtpy.QtWidgets import QApplication
from napari_unimiss import children, jobs

def launch(arguments, log_file):
    return subprocess.Popen([sys.executable, sys.argv[1], sys.argv[2], "long"])

children.launch = launch
app = QApplication([])
folder = Path(sys.argv[2])
job = jobs.start(jobs.Order("Training", [], folder))
job.begin()
while not (folder / "config.yaml").exists():
    app.processEvents()
    time.sleep(0.01)
print(job.child.process.pid)
"""


def test_a_program_that_just_ends_takes_its_child_along(tmp_path):
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(Path(__file__).with_name("standin.py")),
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not psutil.pid_exists(int(done.stdout.split()[-1]))
    assert Run(tmp_path / "run").last.exists()
