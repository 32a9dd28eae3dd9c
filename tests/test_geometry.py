from __future__ import annotations

import itertools
import re

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from unimiss.errors import InputError
from unimiss.geometry import Geometry, Reorientation

RAS_TO_WORLD = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])
PERMUTATIONS = list(itertools.permutations(range(3)))


@st.composite
def affines(draw: st.DrawFn, shear: float = 0.3) -> NDArray[np.float64]:
    """RAS+ affines: any rotation, axis order, direction, spacing, shear and origin."""
    numbers = st.floats(-1, 1, allow_nan=False)
    quaternion = [draw(st.floats(0.1, 1)), *(draw(numbers) for _ in range(3))]
    axes = np.eye(3)[list(draw(st.sampled_from(PERMUTATIONS)))] * draw(
        st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3)
    )
    slant = np.eye(3)
    slant[0, 1], slant[0, 2], slant[1, 2] = (shear * draw(numbers) for _ in range(3))
    spacing = draw(st.lists(st.floats(0.25, 6), min_size=3, max_size=3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_quat(quaternion).as_matrix() @ axes @ slant @ np.diag(spacing)
    affine[:3, 3] = [500 * draw(numbers) for _ in range(3)]
    return affine


shapes = st.tuples(*[st.integers(2, 6)] * 3)
grids = st.builds(Geometry.from_nifti, shapes, affines())


def numbered(geometry: Geometry) -> NDArray[np.int64]:
    return np.arange(np.prod(geometry.shape)).reshape(geometry.shape)


def places(geometry: Geometry) -> NDArray[np.float64]:
    """World position of every voxel, shape (*shape, n)."""
    return geometry.to_world(np.stack(np.indices(geometry.shape), -1))


@given(grids)
def test_anatomical_order_keeps_the_world_position_of_every_voxel(stored: Geometry) -> None:
    change = stored.to_anatomical()
    geometry = stored.reoriented(change)
    array = change.apply(numbered(stored))
    assert array.shape == geometry.shape
    before = places(stored).reshape(-1, 3)
    np.testing.assert_allclose(places(geometry), before[array], atol=1e-6)


@given(grids)
def test_anatomical_order_is_what_nibabel_calls_canonical(stored: Geometry) -> None:
    file = nibabel.Nifti1Image(numbered(stored).T.astype(np.int32), stored.to_nifti())
    canonical = nibabel.as_closest_canonical(file)
    change = stored.to_anatomical()
    # canonical is right, front, head; anatomical order is head, back, left
    np.testing.assert_array_equal(
        change.apply(numbered(stored)), np.asarray(canonical.dataobj).T[:, ::-1, ::-1]
    )
    assert stored.reoriented(change).orientation == "SPL"


@given(grids)
def test_orientation_letters_are_those_of_nibabel_from_the_last_axis_to_the_first(stored: Geometry) -> None:
    assert stored.orientation == "".join(reversed(aff2axcodes(stored.to_nifti())))


@given(grids, st.sampled_from(PERMUTATIONS), st.tuples(*[st.booleans()] * 3))
def test_a_reorientation_and_its_inverse_lead_back(
    stored: Geometry, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    change = Reorientation(axes, flips)
    array = np.stack([numbered(stored), -numbered(stored)])
    np.testing.assert_array_equal(change.inverse().apply(change.apply(array)), array)
    assert change.inverse().inverse() == change
    assert stored.difference(stored.reoriented(change).reoriented(change.inverse()), 1e-6) is None


@given(shapes, affines())
def test_a_nifti_affine_survives_the_way_through(shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
    geometry = Geometry.from_nifti(shape, affine)
    assert geometry.shape == shape[::-1]
    np.testing.assert_allclose(geometry.to_nifti(), affine, atol=1e-9)
    i, j, k = (size - 1 for size in shape)
    ras = nibabel.affines.apply_affine(affine, [i, j, k])
    np.testing.assert_allclose(geometry.to_world([k, j, i]), RAS_TO_WORLD @ ras, atol=1e-6)
    np.testing.assert_allclose(geometry.spacing[::-1], nibabel.affines.voxel_sizes(affine), atol=1e-9)


@given(grids, shapes)
def test_another_resolution_covers_the_same_extent(geometry: Geometry, shape: tuple[int, ...]) -> None:
    resized = geometry.resized(shape)
    for corner in itertools.product((0, 1), repeat=3):
        old = np.array(corner) * geometry.shape - 0.5
        new = np.array(corner) * shape - 0.5
        np.testing.assert_allclose(resized.to_world(new), geometry.to_world(old), atol=1e-6)
    volume = np.prod(geometry.shape) * abs(np.linalg.det(geometry.matrix))
    assert np.prod(shape) * abs(np.linalg.det(resized.matrix)) == pytest.approx(volume)


@given(grids, st.tuples(*[st.integers(-3, 3)] * 3))
def test_a_crop_keeps_the_place_of_its_voxels(geometry: Geometry, start: tuple[int, ...]) -> None:
    cropped = geometry.cropped(start, (2, 2, 2))
    np.testing.assert_allclose(cropped.to_world([1, 0, 1]), geometry.to_world(np.add(start, [1, 0, 1])))


@given(grids)
def test_index_and_world_are_inverse(geometry: Geometry) -> None:
    index = np.array([[0.5, -1, 2], [3, 3, 3]])
    np.testing.assert_allclose(geometry.to_index(geometry.to_world(index)), index, atol=1e-6)


def test_one_voxel_up_back_and_left_is_a_step_along_the_anatomical_axes() -> None:
    geometry = Geometry.from_nifti((2, 3, 4), np.diag([2.0, 3, 4, 1]))  # right, front, head
    assert (geometry.orientation, geometry.spacing) == ("SAR", (4, 3, 2))
    anatomical = geometry.reoriented(geometry.to_anatomical())
    np.testing.assert_array_equal(np.diag(anatomical.matrix), [4, 3, 2, 1])


def test_a_radiograph_stays_as_it_is_stored() -> None:
    geometry = Geometry.from_spacing((3, 4), (0.2, 0.1))
    assert geometry.to_anatomical() == Reorientation.identity(2)
    assert (geometry.orientation, geometry.spacing, geometry.ndim) == ("", (0.2, 0.1), 2)


def test_difference_says_what_differs() -> None:
    geometry = Geometry.from_spacing((4, 5, 6), (3, 1, 1))
    assert geometry.difference(geometry.cropped((0.005, 0, 0), (4, 5, 6))) is not None
    assert geometry.difference(geometry.cropped((0.003, 0, 0), (4, 5, 6))) is None
    assert geometry.difference(geometry.resized((4, 5, 7))) == "its shape is (4, 5, 7), not (4, 5, 6)"
    shifted = geometry.difference(geometry.cropped((1, 0, 0), (4, 5, 6)))
    assert shifted == "its voxels lie up to 3 mm away"
    mirrored = geometry.reoriented(Reorientation((0, 1, 2), (True, False, False)))
    assert geometry.difference(mirrored) == "its voxels lie up to 9 mm away"


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.diag([1.0, 0, 1, 1]), "singular"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        (np.diag([1.0, np.nan, 1, 1]), "not finite"),
        (np.diag([1.0, np.inf, 1, 1]), "not finite"),
        (np.eye(3), "not affine"),
        (np.diag([1.0, 1, 1, 2]), "not affine"),
    ],
)
def test_a_matrix_that_places_no_voxels_is_refused(matrix: NDArray[np.float64], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Geometry((2, 2, 2), matrix)


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, -1, 1), (1, 1), (1, float("nan"), 1)])
def test_a_spacing_must_be_one_positive_number_for_each_axis(spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=re.escape("spacing needs 3 positive numbers")):
        Geometry.from_spacing((2, 2, 2), spacing)


def test_fine_spacing_is_not_taken_for_singular() -> None:
    assert Geometry.from_spacing((2, 2, 2), (1e-5, 1e-5, 1e-5)).spacing == (1e-5, 1e-5, 1e-5)


def test_a_geometry_does_not_change_with_the_matrix_it_was_made_from() -> None:
    matrix = np.eye(3)
    geometry = Geometry((2, 2), matrix)
    matrix[0, 0] = 5
    assert geometry.spacing == (1, 1)
    with pytest.raises(ValueError, match="read-only"):
        geometry.matrix[0, 0] = 5
