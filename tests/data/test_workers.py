"""Work in other processes: they die, they are killed, and nobody stays behind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from contextlib import closing
from functools import partial

import psutil
import pytest

from unimiss.data.workers import Died, outcomes
from unimiss.errors import InputError, JobError
from unimiss.io import read


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "unimiss.data.workers" in child.cmdline()]


def collect(works, processes):
    with closing(outcomes(works, processes)) as found:
        return dict(outcome for outcome in found if outcome is not None)


def test_every_piece_of_work_is_done_once_in_another_process():
    answers = collect([os.getpid, *(partial(math.factorial, n) for n in range(20)), os.getpid], 2)
    assert [answers[n + 1] for n in range(20)] == [math.factorial(n) for n in range(20)]
    assert os.getpid() not in (answers[0], answers[21])
    assert not children()


def test_a_piece_that_kills_its_process_is_known_and_the_rest_is_done():
    works = [partial(os._exit, 7) if n == 3 else partial(pow, n, 2) for n in range(9)]
    works.append(os.abort)
    answers = collect(works, 2)
    assert isinstance(answers[3], Died)
    assert str(answers[3]) == "exit status 7"
    assert isinstance(answers[9], Died)
    assert [answers[n] for n in range(9) if n != 3] == [n**2 for n in range(9) if n != 3]


def test_a_piece_whose_process_was_killed_once_is_done_in_the_second_round():
    with closing(outcomes([partial(time.sleep, 3), partial(pow, 2, 3)], 2)) as found:
        answers = dict([next(outcome for outcome in found if outcome is not None)])
        for child in children():
            child.kill()
        answers |= dict(outcome for outcome in found if outcome is not None)
    assert answers == {0: None, 1: 8}


def test_errors_come_back_as_they_are_and_unforeseen_ones_with_their_place():
    answers = collect([partial(read, "/there/is/nothing.png"), partial(math.sqrt, -1)], 1)
    assert isinstance(answers[0], InputError)
    assert "nothing.png: there is no such file" in str(answers[0])
    assert str(answers[1]).startswith("ValueError: ")
    assert "Traceback" in answers[1].__notes__[0]


def test_work_that_cannot_be_sent_is_an_error_and_no_endless_wait():
    answers = collect([lambda: 1, partial(pow, 2, 3)], 1)
    assert "pickle" in str(answers[0])
    assert answers[1] == 8


def test_what_work_prints_does_not_disturb_its_answer(capfd):
    assert collect([partial(os.write, 1, b"chatter\n"), partial(pow, 2, 3)], 1) == {0: 8, 1: 8}
    assert "chatter" in capfd.readouterr().err


def test_closed_in_the_middle_of_long_work_it_leaves_no_process():
    found = outcomes([partial(time.sleep, 60) for _ in range(8)], 2)
    assert next(found) is None  # a second went by
    assert len(children()) == 2
    began = time.monotonic()
    found.close()
    assert time.monotonic() - began < 2
    assert not children()


def test_without_processes_it_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/there/is/no/python")
    with pytest.raises(JobError, match="no process could be started"):
        collect([os.getpid], 2)


SCRIPT = """
import multiprocessing, time
from contextlib import closing
from functools import partial
from unimiss.data.workers import outcomes

def work():
    with closing(outcomes([partial(time.sleep, {seconds}) for _ in range(4)], 2)) as found:
        print(len([o for o in found if o is not None]), flush=True)
{then}
"""


def test_a_daemon_may_use_it():
    then = "child = multiprocessing.get_context('fork').Process(target=work, daemon=True); child.start(); child.join()"
    if sys.platform == "win32":
        pytest.skip("Windows has no fork")
    code = SCRIPT.format(seconds=0, then=then)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "4\n", done.stderr


def test_killed_the_caller_takes_its_processes_along(tmp_path):
    script = tmp_path / "unguarded.py"  # without `if __name__ == "__main__"`, as notebooks and scripts are
    script.write_text(SCRIPT.format(seconds=60, then="work()"))
    caller = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 30
    while len(helpers := psutil.Process(caller.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    caller.kill()
    caller.wait()
    _, alive = psutil.wait_procs(helpers, timeout=10)
    assert not alive
