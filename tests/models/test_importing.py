"""Checkpoints of the official release become models here; files that would run code are refused and do not."""

import argparse
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from unimiss.errors import InputError
from unimiss.models import checkpoint, released
from unimiss.models.checkpoint import Checkpoint
from unimiss.models.importing import import_release, parse_sizes
from unimiss.models.release_names import VARIANTS

NETWORKS = [variant for variant in VARIANTS if variant != "projection_head"]
PRETRAINED = ["unimiss_tiny", "unimiss_small", "unimissplus"]


def drawn(release, variant):
    """Weights of the manifest's names and shapes, drawn quickly."""
    shapes = release.manifest[variant]["state_dict"]
    weights = {name: 0.1 * (torch.rand(shape) - 0.5) for name, shape in shapes}
    return {name: torch.ones_like(t) if name.endswith("weight_g") else t for name, t in weights.items()}


def look_alike(release, variant, loss="loss"):
    """A file as the release's pre-training writes it; the teacher is twice the student."""
    backbone, head = drawn(release, variant), drawn(release, "projection_head")
    if variant == "unimissplus":
        head["mlp.0.weight"] = torch.randn(2048, 320)
    student = {f"module.backbone.{n}": t for n, t in backbone.items()}
    student |= {f"module.head.{n}": t for n, t in head.items()}
    teacher = {n.removeprefix("module."): 2 * t if "_g" not in n else t for n, t in student.items()}
    moments = {0: {"step": 7, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.ones(3)}}
    return {
        "student": OrderedDict(student),
        "teacher": OrderedDict(teacher),
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "epoch": 199,
        "args": argparse.Namespace(arch="model", local_crops=None, lr=8e-4, betas=(0.9, 0.95)),
        loss: OrderedDict(center=torch.zeros(1, 1024)),
    }


@pytest.fixture(scope="module")
def official(release, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("official") / "UniMiss_tiny.pth"
    torch.save(look_alike(release, "unimiss_tiny"), path)
    return path


@pytest.mark.parametrize("variant", PRETRAINED)
def test_an_official_file_becomes_a_model(release, tmp_path, variant):
    file, model = tmp_path / "official.pth", tmp_path / "model"
    content = look_alike(release, variant, "dino_loss" if variant == "unimissplus" else "loss")
    torch.save(content, file)
    found = import_release(file)
    found.checkpoint.save(model)
    loaded = checkpoint.load(model)
    assert (found.variant, found.part) == (variant, "student")
    assert loaded.description.kind == "backbone"
    assert loaded.description.provenance["epoch"] == 199
    assert not [name for name in loaded.tensors if name.startswith("head.")]
    student = {
        n.removeprefix("module.backbone."): t for n, t in content["student"].items() if "backbone" in n
    }
    expected = released.network(variant, student)
    x = torch.randn(1, 1, 8, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded.network()(x), expected(x)["cls"])


def test_every_tensor_of_the_file_is_accounted_for(official):
    content = torch.load(official, weights_only=False)
    found = import_release(official)
    in_file = [f"{part}/{n}" for part in ("student", "teacher", "loss") for n in content[part]]
    in_file += ["optimizer/state/0/exp_avg", "optimizer/state/0/exp_avg_sq"]
    assert sorted(found.loaded + found.unused) == sorted(in_file)
    groups = found.unused_groups()
    assert groups.keys() == {"teacher", "teacher's head", "student's head", "optimizer", "loss"}
    assert (groups["optimizer"], groups["student's head"], sum(groups.values())) == (2, 8, len(found.unused))


def test_the_teacher_is_taken_when_asked_for(release, official):
    student, teacher = import_release(official), import_release(official, part="teacher")
    for name, tensor in student.checkpoint.tensors.items():
        assert torch.equal(2 * tensor, teacher.checkpoint.tensors[name])
    assert all(name.startswith("teacher/") for name in teacher.loaded)


def test_the_head_is_kept_when_asked_for(release, official):
    found = import_release(official, head=True)
    in_file = torch.load(official, weights_only=False)["student"]["module.head.last_layer.weight_v"]
    assert torch.equal(found.checkpoint.part("head")["last.weight"], in_file)
    assert [name for name in found.unused if name.startswith("student")] == [
        "student/module.head.last_layer.weight_g"  # 1 everywhere, and not kept
    ]


@pytest.mark.parametrize("variant", NETWORKS)
def test_a_bare_state_dict_of_any_network_is_recognised(release, tmp_path, variant):
    weights = drawn(release, variant)
    prefix = "module." if "small" in variant else ""
    torch.save({f"{prefix}{name}": tensor for name, tensor in weights.items()}, tmp_path / "bare.pth")
    found = import_release(tmp_path / "bare.pth")
    assert (found.variant, found.part, found.unused) == (variant, "", [])
    assert len(found.loaded) == len(weights)
    found.checkpoint.save(tmp_path / "model")
    network = Checkpoint.load(tmp_path / "model").network()
    dimension = VARIANTS[variant].dimensions[0]
    x = torch.randn(1, 3, 64, 64) if dimension == 2 else torch.randn(1, 1, 16, 64, 64)
    with torch.inference_mode():
        ours, theirs = network(x), released.network(variant, weights)(x)
    assert torch.equal(ours, next(iter(theirs.values())))


@pytest.mark.parametrize("place", ["state_dict", "model"])
def test_weights_below_a_customary_key_are_found(release, tmp_path, place):
    torch.save({place: drawn(release, "classification3d_tiny"), "epoch": 3}, tmp_path / "f.pth")
    assert import_release(tmp_path / "f.pth").variant == "classification3d_tiny"


def test_the_old_file_format_is_read(release, tmp_path):
    weights = drawn(release, "classification3d_tiny")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert import_release(tmp_path / "old.pth").variant == "classification3d_tiny"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


class Disguised(argparse.Namespace):
    def __reduce__(self):
        return eval, ("__import__('os').mkdir('ran')",)


@pytest.mark.parametrize("where", ["alone", "among weights", "args", "old format", "plain pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "evil.pth"
    content = {
        "alone": Evil(),
        "among weights": {"student": {"module.backbone.norm.weight": Evil()}},
        "args": {"student": {"module.backbone.norm.weight": torch.zeros(1)}, "args": Disguised()},
        "old format": {"a": Evil()},
        "plain pickle": {"a": Evil()},
    }[where]
    if where == "plain pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=where != "old format")
    with pytest.raises(InputError, match=r"evil\.pth is refused: .*(mkdir|eval)"):
        import_release(file)
    assert not (tmp_path / "ran").exists()


def test_the_unsafe_loader_would_have_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def lie_about_values(weights):
    weights["norm_new.weight"] = torch.zeros(1).expand(10**12)


def claim_nothing(weights):
    weights["head_new.weight"] = torch.zeros(2**40, 0)


def overflow(weights):
    weights["norm_new.weight"] = torch.full((512,), 1e300, dtype=torch.float64)


def make_tiny_floats(weights):
    weights["norm_new.weight"] = torch.ones(512).to(torch.float8_e4m3fn)


def hide_a_nan(weights):
    weights["norm_new.weight"][3] = float("nan")


def make_integers(weights):
    weights["norm_new.weight"] = torch.ones(512, dtype=torch.int64)


def make_sparse(weights):
    weights["head_new.weight"] = weights["head_new.weight"].to_sparse()


def make_meta(weights):
    weights["head_new.weight"] = weights["head_new.weight"].to("meta")


def make_text(weights):
    weights["head_new.weight"] = "2 x 512"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lie_about_values, "does not hold"),
        (claim_nothing, "does not hold"),
        (overflow, "not finite"),
        (make_tiny_floats, "float8"),
        (hide_a_nan, "not finite"),
        (make_integers, "int64"),
        (make_sparse, "plain tensor"),
        (make_meta, "plain tensor"),
        (make_text, "plain tensor"),
    ],
)
def test_tensors_that_are_no_weights_are_named(release, tmp_path, change, told):
    weights = drawn(release, "classification3d_tiny")
    change(weights)
    torch.save(weights, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=rf"odd\.pth.*_new\.weight.*{told}"):
        import_release(tmp_path / "odd.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**6)
    with pytest.raises(InputError, match=r"bomb\.pth is refused: it (is compressed|.*directory)"):
        import_release(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff" * 99, b"\x80\x02}q\x00", b"PK\x03\x04" + b"\0" * 50]
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "damaged.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.pth"):
        import_release(tmp_path / "damaged.pth")


def test_a_truncated_file_is_named(official, tmp_path):
    shutil.copyfile(official, tmp_path / "short.pth")
    os.truncate(tmp_path / "short.pth", official.stat().st_size - 5000)
    with pytest.raises(InputError, match=r"short\.pth"):
        import_release(tmp_path / "short.pth")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), 5, {}, {"a": 1}, {1: torch.zeros(1)}])
def test_a_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth"):
        import_release(tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["patch_embed3D0.conv.weight", "head_new.weight", "pos_embed3D1"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_tensor_of_other_axes_is_named(release, tmp_path, name, shape):
    torch.save(drawn(release, "classification3d_tiny") | {name: torch.zeros(shape)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=rf"odd\.pth: '{name}' has {len(shape)} axes"):
        import_release(tmp_path / "odd.pth")


def test_containers_that_hold_themselves_or_double_do_not_hang_it(release, tmp_path):
    endless, doubled = [], [0]
    endless.append(endless)
    for _ in range(60):
        doubled = [doubled, doubled]
    content = {"state_dict": drawn(release, "classification3d_tiny"), "a": endless, "b": doubled}
    torch.save(content, tmp_path / "odd.pth")
    assert import_release(tmp_path / "odd.pth").unused == []


def test_a_small_file_that_asks_for_much_memory_is_refused(tmp_path):
    (tmp_path / "greedy.pth").write_bytes(b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x7f\x85R.")
    with pytest.raises(InputError, match=r"greedy\.pth is refused: .*bytearray"):
        import_release(tmp_path / "greedy.pth")


def test_a_second_directory_in_the_archive_is_refused(release, tmp_path):
    torch.save(drawn(release, "classification3d_tiny"), tmp_path / "f.pth")
    whole = (tmp_path / "f.pth").read_bytes()
    end, locator = whole[-22:], bytearray(whole[-42:-22])
    assert locator[:4] == b"PK\x06\x07"
    locator[8:16] = (1000).to_bytes(8, "little")
    (tmp_path / "f.pth").write_bytes(whole[:-42] + bytes(locator) + end)
    with pytest.raises(InputError, match="directory"):
        import_release(tmp_path / "f.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a thing of POSIX")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="is no file"):
            import_release(path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_told(release, tmp_path, kind):
    weights = {name: t.to(kind) for name, t in drawn(release, "classification3d_tiny").items()}
    torch.save(weights, tmp_path / "f.pth")
    found = import_release(tmp_path / "f.pth")
    assert found.converted == found.loaded
    assert all(tensor.dtype == torch.float32 for tensor in found.checkpoint.tensors.values())


def test_tensors_among_the_arguments_are_accounted_for(release, tmp_path):
    content = {
        "state_dict": drawn(release, "classification3d_tiny"),
        "args": argparse.Namespace(t=torch.ones(1)),
    }
    torch.save(content, tmp_path / "f.pth")
    assert import_release(tmp_path / "f.pth").unused == ["args/t"]


def test_an_input_size_for_a_missing_dimension_is_refused(release, tmp_path):
    torch.save(drawn(release, "classification3d_tiny"), tmp_path / "f.pth")
    with pytest.raises(InputError, match="no 2D part"):
        import_release(tmp_path / "f.pth", native={2: (224, 224)})


def test_one_output_is_a_classification_too(release, tmp_path):
    weights = drawn(release, "classification3d_tiny")
    weights |= {name: t[:1] * 1 for name, t in weights.items() if name.startswith("head_new")}
    torch.save(weights, tmp_path / "f.pth")
    assert len(import_release(tmp_path / "f.pth").checkpoint.description.labels) == 1


def test_what_the_file_lacks_is_said(release, official, tmp_path):
    content = look_alike(release, "unimiss_tiny")
    del content["teacher"]
    torch.save(content, tmp_path / "f.pth")
    with pytest.raises(InputError, match="no teacher, only student"):
        import_release(tmp_path / "f.pth", part="teacher")
    torch.save(drawn(release, "projection_head"), tmp_path / "head.pth")
    with pytest.raises(InputError, match="no network"):
        import_release(tmp_path / "head.pth")
    torch.save(drawn(release, "classification3d_tiny"), tmp_path / "bare.pth")
    with pytest.raises(InputError, match="no projection head"):
        import_release(tmp_path / "bare.pth", head=True)


def test_sizes_are_written_with_x():
    assert parse_sizes(["224x224", "48x192x192"]) == {2: (224, 224), 3: (48, 192, 192)}
    for text in ("224", "a x b", "0x5", "1x2x3x4", "99999x2"):
        with pytest.raises(InputError, match="no size"):
            parse_sizes([text])
