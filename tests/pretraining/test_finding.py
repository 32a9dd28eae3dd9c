"""What a pre-training is given to learn from, and what the user is told of the rest."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from unimiss.data.cases import is_held_out
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import Image, write
from unimiss.pretraining import PretrainConfig, pretrain
from unimiss.pretraining.finding import Trainable, find_trainable


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (40, 44), dtype=np.uint8)
    Pillow.fromarray(values).save(path)
    return path


def volume(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 99, (1, 6, 34, 36))
    write(Image(values.astype(np.int16), Geometry.from_spacing((6, 34, 36))), path)
    return path


def names(held: bool) -> list[str]:
    return [name for n in range(40) if is_held_out(name := f"p{n}", 5) is held]


class Told:
    """What find_trainable says."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notices: list[str] = []

    def find(self, images: list[Path], volumes: list[Path], holdout: int = 5) -> Trainable:
        return find_trainable(images, volumes, holdout, self.warnings.append, self.notices.append)


def test_masks_and_held_out_patients_are_counted_and_left_out(tmp_path):
    kept = [picture(tmp_path / f"{name}.png") for name in names(held=False)[:3]]
    held = [picture(tmp_path / f"{name}.png") for name in names(held=True)[:2]]
    mask = picture(tmp_path / f"{kept[0].stem}_seg.png")
    told = Told()
    found = told.find([tmp_path], [])
    assert (found.images, found.volumes, found.held_out) == (sorted(kept), [], sorted(held))
    assert told.notices == [
        f"1 files are left out as masks by their names, first {mask}",
        "2 images of held-out patients are left out",
    ]
    assert not told.warnings


def test_a_kind_of_held_out_patients_alone_is_a_warning(tmp_path):
    picture(tmp_path / "flat" / f"{names(held=False)[0]}.png")
    volume(tmp_path / "deep" / names(held=True)[0] / "ct.nii.gz")
    told = Told()
    assert not told.find([tmp_path / "flat"], [tmp_path / "deep"]).volumes
    assert told.warnings == [
        "all 1 volumes belong to held-out patients, so the run trains on images alone; "
        "--set holdout=0 trains on them too"
    ]
    assert told.find([tmp_path / "flat"], [tmp_path / "deep"], holdout=0).volumes
    with pytest.raises(InputError, match="holdout=0"):
        told.find([], [tmp_path / "deep"])


def test_a_folder_given_as_both_kinds_is_sorted_by_dimension(tmp_path):
    flat, deep = picture(tmp_path / "a.png"), volume(tmp_path / "b" / "ct.nii.gz")
    damaged = tmp_path / "c.nii.gz"
    damaged.write_bytes(b"nothing")
    told = Told()
    found = told.find([tmp_path], [tmp_path], holdout=0)
    assert found == Trainable([flat], [deep, damaged], [])
    assert not told.warnings
    deep.unlink()
    assert told.find([tmp_path], [tmp_path], holdout=0) == Trainable([flat, damaged], [], [])
    assert told.warnings == [
        f"there are no volumes in {tmp_path}, so the run trains on images alone; name a folder of volumes"
    ]


def test_files_of_the_wrong_kind_in_a_folder_of_one_kind_stay_to_be_named(tmp_path):
    wrong = volume(tmp_path / "flat" / "b.nii.gz")
    assert Told().find([tmp_path / "flat"], [], holdout=0).images == [wrong]


@pytest.mark.parametrize(("own", "warns"), [(4, True), (5, False)])
def test_most_files_of_one_patient_are_a_warning_without_his_name(tmp_path, own, warns):
    name = names(held=False)[0]
    for n in range(5):
        picture(tmp_path / f"patient{n + 1}" / "ct.png")
        picture(tmp_path / "one" / f"{name}_part{n}.png")
    if own == 4:
        (tmp_path / "patient1" / "ct.png").unlink()
        picture(tmp_path / "one" / f"{name}_part9.png")
    told = Told()
    told.find([tmp_path], [])
    first = tmp_path / "one" / f"{name}_part0.png"
    said = [
        f"6 of 10 images count as one patient's by their names, first {first}" in w for w in told.warnings
    ]
    assert said == ([True] if warns else [])


def test_a_run_names_what_its_list_lacks_and_trains_on_the_rest(tmp_path):
    for n in range(4):
        picture(tmp_path / f"{n}.png")
    (tmp_path / "list.csv").write_text("image,sex\n0.png,f\n1.png,m\ngone.png,f\n2.png,f\n3.png,m\n")
    tiny = {
        "steps": 1,
        "precision": "32-true",
        "batch_2d": 2,
        "size_2d": (32, 32),
        "outputs": 16,
        "epoch_2d": 1,
    }
    settings = PretrainConfig.build({**tiny, "images": [tmp_path / "list.csv"], "holdout": 0})
    run = pretrain(settings, tmp_path / "run")
    assert len(run.metrics()) == 1
    assert len(run.manifest()["images"]) == 4
    (left_out,) = run.manifest()["left_out"]
    assert left_out["image"] == str(tmp_path / "gone.png")
    assert "there is no such file" in left_out["reason"]
