"""Files in, files out: one bad case stops no other, and nothing that is there is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unimiss.data.preprocessing import BY_PERCENTILE, Preprocessing
from unimiss.errors import InputError, JobError
from unimiss.geometry import Geometry
from unimiss.inference.folder import predict_files
from unimiss.io import Image, write

LABELS = {0: "background", 1: "bright"}
SHAPE = (4, 6, 8)


class Bright:
    """Stands for a trained model of volumes: everything above 500 is class 1."""

    labels = LABELS
    overlapping = False
    preprocessing = Preprocessing(spacing=(1, 1, 1), intensity=BY_PERCENTILE)

    def __init__(self) -> None:
        self.seen = 0

    def segment(
        self, image: Image, progress: Callable[[float], None], *, probabilities: bool
    ) -> tuple[Image, Image | None]:
        self.preprocessing.grid(image)
        self.seen += 1
        mask = image.with_array((image.array > 500).astype(np.uint8), self.labels)
        return mask, image.with_array(mask.array.astype(np.float32), {}) if probabilities else None


def scan(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    values = np.random.default_rng(len(path.name)).integers(0, 1000, (1, *shape)).astype(np.int16)
    write(Image(values, Geometry.from_spacing(shape)), path)
    return path


def predicted(inputs: list[Path], output: Path, **options: Any) -> tuple[list[Path], list[str]]:
    """Masks, and what was said."""
    said: list[str] = []
    options = {"progress": lambda share, name: None, "warn": said.append, **options}
    return predict_files(options.pop("model", None) or Bright(), inputs, output, **options), said


def test_a_flat_image_among_volumes_is_left_out_and_the_others_are_segmented(tmp_path):
    flat = np.zeros((1, 9, 9), np.uint8)
    write(Image(flat, Geometry.from_spacing((9, 9))), tmp_path / "mix" / "a.png")
    scan(tmp_path / "mix" / "b.nii.gz")
    said: list[str] = []
    with pytest.raises(JobError, match="1 of 2 inputs were segmented; 1 were left out"):
        predicted([tmp_path / "mix"], tmp_path / "out", warn=said.append)
    assert "a.png has 2 spatial axes" in said[0]
    assert (tmp_path / "out" / "b.nii.gz").exists()


def test_a_case_with_a_gap_in_its_channels_is_left_out(tmp_path):
    for name in ("a_0000.nii.gz", "a_0002.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"):
        scan(tmp_path / "in" / name)
    model = Bright()
    model.preprocessing = Preprocessing(spacing=(1, 1, 1), intensity=BY_PERCENTILE, channels=2, files=2)
    said: list[str] = []
    with pytest.raises(JobError, match="1 of 2 inputs were segmented"):
        predicted([tmp_path / "in"], tmp_path / "out", model=model, warn=said.append)
    assert "a_0000.nii.gz and the files beside it are channels 0, 2; one is missing" in said[0]


def test_a_folder_in_the_place_of_a_mask_costs_that_mask_alone(tmp_path):
    inputs = [scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    (tmp_path / "out" / "a.nii.gz").mkdir(parents=True)
    model, said = Bright(), []
    with pytest.raises(JobError, match="1 of 2"):
        predicted(inputs, tmp_path / "out", model=model, warn=said.append)
    assert "is a folder in the place of a mask" in said[0]
    assert model.seen == 1
    assert (tmp_path / "out" / "b.nii.gz").exists()


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_that_cannot_be_a_folder_is_bad_input(tmp_path, output):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, or lies below one; masks need a folder"):
        predicted([scan(tmp_path / "a.nii.gz")], tmp_path / output)


def test_probabilities_never_replace_an_input_nor_another_mask(tmp_path):
    inputs = [scan(tmp_path / "a.nii.gz"), scan(tmp_path / "a_probabilities.nii.gz")]
    with pytest.raises(InputError, match="would both be written to"):
        predicted(inputs, tmp_path / "out", probabilities=True)
    with pytest.raises(InputError, match=r"would replace .*a_probabilities\.nii\.gz"):
        predicted(inputs, tmp_path, suffix=".nrrd", probabilities=True)
    predicted(inputs, tmp_path / "out")


def test_a_mask_never_replaces_another_input(tmp_path):
    inputs = [scan(tmp_path / "in" / "b.nii.gz"), scan(tmp_path / "out" / "b.nrrd")]
    with pytest.raises(InputError, match=r"b\.nii\.gz would replace .*b\.nrrd"):
        predicted([inputs[0], inputs[1]], tmp_path / "out", suffix=".nrrd")


def test_masks_of_other_classes_keep_their_names(tmp_path):
    source = scan(tmp_path / "a.nii.gz")
    predicted([source], tmp_path / "out")
    predicted([source], tmp_path / "out")  # the same classes
    other = Bright()
    other.labels = {0: "background", 1: "dark"}
    with pytest.raises(InputError, match="holds masks of other classes"):
        predicted([source], tmp_path / "out", model=other)
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == {"0": "background", "1": "bright"}
    (tmp_path / "out" / "a.nii.gz").unlink()
    predicted([source], tmp_path / "out", model=other)  # no mask is left that it could name wrongly
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["1"] == "dark"


def test_formats_are_named_as_the_option_takes_them(tmp_path):
    with pytest.raises(InputError, match=r"written as bmp; use one of .*dicom-seg"):
        predicted([scan(tmp_path / "a.nii.gz")], tmp_path / "out", suffix=".bmp")
