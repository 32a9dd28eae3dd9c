"""Which processes there are, by what started them."""

import pytest

from unimiss.devices import make_fabric, started_by_launcher
from unimiss.errors import InputError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "pretrain"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (TORCHRUN, (4, 2)),
        (SRUN, (8, 2)),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, None),
    ],
)
def test_launchers_say_how_many_processes_there_are(monkeypatch, environment, expected):
    for name in TORCHRUN | SRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started_by_launcher() == expected


def test_other_numbers_than_the_launchers_are_refused(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"4 processes on each of 2 machines"):
        make_fabric(devices=2)
