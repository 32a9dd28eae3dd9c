"""Checkpoints describe themselves, survive crashes, and are read without running anything."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unimiss.errors import InputError
from unimiss.models import Backbone, checkpoint
from unimiss.models.checkpoint import Checkpoint, Description

NATIVE = {2: (32, 32)}


@pytest.fixture(scope="module")
def saved() -> Checkpoint:
    torch.manual_seed(0)
    network = Backbone("tiny", NATIVE)
    description = Description(kind="backbone", network="tiny", native=NATIVE, objective="unimiss", step=3)
    return Checkpoint(description, {f"network.{n}": t for n, t in network.state_dict().items()})


def test_a_network_comes_back_bit_for_bit(saved, tmp_path):
    saved.save(tmp_path / "model")
    loaded = Checkpoint.load(tmp_path / "model")
    assert loaded.description == saved.description
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded.network()(x), saved.network()(x))


class Evil:
    def __reduce__(self):
        return open, ("ran", "w")


def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"network": Evil()}))
    with pytest.raises(InputError, match=r"evil\.pth"):
        checkpoint.load(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"native": {"2": [10**9, 10**9]}},
        {"native": {"3": [4096, 4096, 4096]}},
        {"native": {"2": [32, 32, 32]}},
        {
            "kind": "segmentation",
            "native": {"2": [32, 32], "3": [16, 32, 32]},
            "labels": {"0": "a", "1": "b"},
        },
        {"kind": "segmentation", "labels": {"-1": "a", "1": "b"}},
        {"kind": "segmentation", "overlapping": True, "labels": {"0": "a", "2": "b"}},
        {"overlapping": True},
        {"network": "../../etc"},
        {"kind": "other"},
        {"surprise": 1},
        {"step": "many"},
    ],
)
def test_a_hostile_description_is_refused(saved, tmp_path, change):
    header = {**saved.description.model_dump(mode="json"), **change}
    save_file({"network.x": torch.zeros(1)}, tmp_path / "m", metadata={"unimiss": json.dumps(header)})
    with pytest.raises(InputError):
        checkpoint.load(tmp_path / "m")


def test_weights_that_do_not_fit_the_description_are_refused(saved, tmp_path):
    Checkpoint(saved.description, {"network.x": torch.zeros(1)}).save(tmp_path / "m")
    with pytest.raises(InputError, match="do not fit"):
        checkpoint.load(tmp_path / "m").network()


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 64])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path / "m")):
        checkpoint.load(tmp_path / "m")


def test_a_folder_without_checkpoint_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        checkpoint.find(tmp_path)
    with pytest.raises(InputError, match="no such model"):
        checkpoint.find(tmp_path / "missing")


def test_a_model_of_another_format_is_told_from_a_damaged_one(saved, tmp_path):
    header = saved.description.model_dump(mode="json") | {"format": 1, "channels": 1}
    save_file({"network.x": torch.zeros(1)}, tmp_path / "m", metadata={"unimiss": json.dumps(header)})
    with pytest.raises(InputError, match="another version"):
        checkpoint.load(tmp_path / "m")


def test_networks_of_one_checkpoint_share_no_memory(saved):
    first, second = saved.network(), saved.network()
    torch.nn.init.zeros_(first.encoder.cls)
    assert not torch.equal(first.encoder.cls, second.encoder.cls)
    assert not torch.equal(first.encoder.cls, saved.tensors["network.encoder.cls"])


def test_the_bundled_weights_are_found_by_name_and_read_both_dimensions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = checkpoint.load("starter").network().eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).isfinite().all()
        assert network(torch.zeros(1, 1, 8, 48, 48)).isfinite().all()
    assert next(network.parameters()).dtype == torch.float32
    assert checkpoint.absolute(Path("starter")) == Path("starter")
    saved = Checkpoint.load(checkpoint.find("starter"), only=())
    assert saved.description.step >= 1000
    assert "/" not in saved.description.model_dump_json()  # no path of whoever trained them
