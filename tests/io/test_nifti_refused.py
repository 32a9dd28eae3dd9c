from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from unimiss import read
from unimiss.errors import InputError


@pytest.mark.parametrize("shape", [(7,), (2, 2, 2, 2, 2, 2)])
def test_other_numbers_of_dimensions_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "odd.nii")
    with pytest.raises(InputError, match=rf"odd\.nii: it has {len(shape)} dimensions"):
        read(tmp_path / "odd.nii")


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_values_that_are_no_plain_numbers_are_refused(tmp_path: Path, dtype: np.dtype[np.generic]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), dtype), np.eye(4)), tmp_path / "odd.nii")
    with pytest.raises(InputError, match=r"odd\.nii: it holds .* only plain numbers"):
        read(tmp_path / "odd.nii")


@pytest.mark.parametrize(("value", "words"), [(0, "singular"), (np.nan, "not finite")])
def test_a_matrix_that_places_no_voxels_is_refused_by_file_name(
    tmp_path: Path, value: float, words: str
) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((3, 4, 5))
    header["sform_code"], header["vox_offset"], header["magic"] = 1, 352, b"n+1"
    header["srow_x"], header["srow_y"], header["srow_z"] = [1, 0, 0, 0], [0, value, 0, 0], [0, 0, 1, 0]
    (tmp_path / "flat.nii").write_bytes(header.binaryblock + b"\0" * (4 + 60 * 4))
    with pytest.raises(InputError, match=rf"flat\.nii: the voxel-to-world matrix .*{words}"):
        read(tmp_path / "flat.nii")
