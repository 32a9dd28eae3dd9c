"""Reading and writing back images of many sources; see docs/results.md for the data sets."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from unimiss import read, write
from unimiss.io.probe import probe

VOLUMES = [
    ("deeplesion_ct/000001_01_01_103-115_dep0.nii.gz", "PLI"),
    ("ricord_ct/*.nii.gz", "LAS"),
    ("totalsegmentator/example_ct_sm.nii.gz", "RAS"),
    ("totalsegmentator/example_mr_sm.nii.gz", "LPS"),
    ("totalsegmentator/example_seg.nii.gz", "RAS"),
    ("msd_hippocampus/imagesTr/hippocampus_003.nii.gz", "RAS"),
    ("msd_hippocampus/labelsTr/hippocampus_003.nii.gz", "RAS"),
]
PICTURES = [("cxr_classification/Covid-19/*.png", 1), ("cxr_lungs/masks/*.png", 1), ("nih_cxr_512/*.png", 3)]


def find(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        pytest.skip(f"{pattern} is not among the real images")
    return found[0]


@pytest.mark.parametrize(("pattern", "axes"), VOLUMES)
def test_a_volume_is_in_place_and_comes_back_as_it_was(
    real_data: Path, tmp_path: Path, pattern: str, axes: str
) -> None:
    path = find(real_data, pattern)
    source = nibabel.load(path)
    assert "".join(nibabel.aff2axcodes(source.affine)) == axes
    image = read(path)
    assert image.geometry.orientation == "SPL"
    assert probe(path).difference(image.geometry) is None

    canonical = np.asarray(nibabel.as_closest_canonical(source).dataobj)
    np.testing.assert_array_equal(image.array[0], canonical.T[:, ::-1, ::-1])

    file = sitk.ReadImage(str(path))
    corner = np.array(image.geometry.shape) - 1
    index = file.TransformPhysicalPointToIndex(image.geometry.to_world(corner)[::-1].tolist())
    assert file[index] == image.array[(0, *corner)]

    write(image, tmp_path / "copy.nii.gz")
    copy = nibabel.load(tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(np.asarray(copy.dataobj), np.asarray(source.dataobj))
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "pixdim"):
        np.testing.assert_array_equal(copy.header[field], source.header[field], err_msg=field)


@pytest.mark.parametrize(("pattern", "channels"), PICTURES)
def test_a_radiograph_comes_back_as_it_was(
    real_data: Path, tmp_path: Path, pattern: str, channels: int
) -> None:
    image = read(find(real_data, pattern))
    assert image.channels == channels
    write(image, tmp_path / "copy.png")
    np.testing.assert_array_equal(read(tmp_path / "copy.png").array, image.array)
