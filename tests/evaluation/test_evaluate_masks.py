from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from test_geometry import affines

from unimiss import Geometry, Image
from unimiss.errors import InputError
from unimiss.evaluation import Scores, evaluate_masks

SPACING = (3.0, 1.0, 2.0)
GRID = Geometry.from_spacing((12, 16, 14), SPACING)


def box(*corners: tuple[int, int], label: int = 1, grid: Geometry = GRID) -> Image:
    array = np.zeros((1, *grid.shape), np.uint8)
    array[(0, *(slice(*corner) for corner in corners))] = label
    return Image(array, grid)


def one(prediction: Image, reference: Image) -> Scores:
    return evaluate_masks(prediction, reference, {1: "one"})[1]


def blob(seed: int, shape: tuple[int, ...] = GRID.shape) -> NDArray[np.bool_]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return noise > np.quantile(noise, 0.8)


def test_equal_masks_agree() -> None:
    scores = one(box((2, 6), (3, 7), (4, 9)), box((2, 6), (3, 7), (4, 9)))
    volume = 4 * 4 * 5 * 6 / 1000
    assert (scores.dice, scores.iou, scores.hd95) == (1, 1, 0)
    assert (scores.surface_dice, scores.assd) == (1, 0)
    assert scores.volume == scores.reference_volume == pytest.approx(volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_plate_is_as_far_away_as_it_was_shifted(axis: int) -> None:
    corners = [(2, 10), (2, 10), (2, 10)]
    corners[axis] = (4, 5)
    moved = list(corners)
    moved[axis] = (7, 8)
    scores = one(box(*corners), box(*moved))
    assert scores.hd95 == scores.assd == pytest.approx(3 * SPACING[axis])
    assert (scores.dice, scores.iou, scores.surface_dice) == (0, 0, 0)


def test_overlap_is_counted_in_voxels() -> None:
    scores = one(box((2, 6), (2, 6), (2, 6)), box((4, 8), (2, 6), (2, 6)))
    assert (scores.dice, scores.iou) == (0.5, pytest.approx(1 / 3))


def test_the_95th_percentile_passes_over_a_few_far_voxels_but_not_over_many() -> None:
    reference = box((0, 10), (0, 10), (3, 4))  # a plate one voxel thick: 100 surface voxels
    few, many = box((0, 10), (0, 10), (3, 4)), box((0, 10), (0, 10), (3, 4))
    few.array[0, :4, 0, 13] = 1  # 4 of 104 voxels, 10 x 2 mm away
    many.array[0, :9, 0, 13] = 1
    assert one(few, reference).hd95 == 0
    assert one(many, reference).hd95 == pytest.approx(20)
    assert one(reference, many).hd95 == pytest.approx(20)


def test_a_mask_that_touches_the_edge_of_the_image_has_its_surface_there() -> None:
    whole, inner = box((0, 12), (0, 16), (0, 14)), box((0, 12), (0, 16), (0, 12))
    assert one(whole, inner).hd95 == pytest.approx(4)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_hd95_is_that_of_distance_transforms(first: int, second: int) -> None:
    masks = blob(first), blob(second)
    surfaces = [mask & ~binary_erosion(mask) for mask in masks]
    expected = max(
        np.percentile(distance_transform_edt(~to, sampling=SPACING)[of], 95)
        for of, to in (surfaces, surfaces[::-1])
    )
    images = [Image(mask[None].astype(np.uint8), GRID) for mask in masks]
    assert one(*images).hd95 == pytest.approx(expected)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
def test_scores_are_those_of_monai(tolerance: float) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    masks = blob(1), blob(2)
    tensors = [torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in masks]
    images = [Image(mask[None].astype(np.uint8), GRID) for mask in masks]
    scores = evaluate_masks(*images, {1: "one"}, tolerance)[1]
    distance = metrics.compute_hausdorff_distance(*tensors, percentile=95, spacing=SPACING)
    average = metrics.compute_average_surface_distance(*tensors, symmetric=True, spacing=SPACING)
    within = metrics.compute_surface_dice(*tensors, [tolerance], spacing=SPACING)
    assert scores.assd == pytest.approx(average.item(), rel=1e-5)
    assert scores.surface_dice == pytest.approx(within.item(), rel=1e-5)
    assert scores.hd95 == pytest.approx(distance.item(), rel=1e-5)
    assert scores.dice == pytest.approx(metrics.compute_dice(*tensors)[0, 1].item())


@given(affines(shear=0))
def test_position_and_orientation_change_nothing(affine: NDArray[np.float64]) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    grids = Geometry.from_nifti(GRID.shape[::-1], affine), Geometry.from_spacing(GRID.shape, spacing.tolist())
    first, second = (
        one(*(Image(blob(seed)[None].astype(np.uint8), grid) for seed in (3, 4))) for grid in grids
    )
    assert first.hd95 == pytest.approx(second.hd95)
    assert first.volume == pytest.approx(second.volume)


def test_a_sheared_grid_is_measured_where_its_voxels_are() -> None:
    matrix = np.eye(4)
    matrix[2, 0] = 1.0  # each slice lies one voxel further left
    grid = Geometry((4, 4, 12), matrix)
    scores = one(box((0, 1), (0, 4), (0, 12), grid=grid), box((3, 4), (0, 4), (0, 12), grid=grid))
    ends = np.sort([math.hypot(3, max(0, 3 - column)) for column in range(12) for _ in range(4)])
    assert scores.hd95 == pytest.approx(np.percentile(ends, 95))


def test_a_class_in_neither_mask_has_no_score_and_one_in_a_single_mask_no_distance() -> None:
    nothing, something = box((0, 0), (0, 0), (0, 0)), box((2, 4), (2, 4), (2, 4))
    neither = one(nothing, nothing)
    undefined = (neither.dice, neither.iou, neither.hd95, neither.assd, neither.surface_dice)
    assert all(math.isnan(value) for value in undefined)
    assert (neither.volume, neither.reference_volume) == (0, 0)
    for pair in ((nothing, something), (something, nothing)):
        scores = one(*pair)
        assert (scores.dice, scores.iou, scores.surface_dice) == (0, 0, 0)
        assert math.isnan(scores.hd95)
        assert math.isnan(scores.assd)


def test_classes_are_scored_each_for_itself_without_background() -> None:
    reference = box((2, 4), (2, 4), (2, 4))
    reference.array[0, 8, 8, 8] = 200
    prediction = reference.with_array(np.where(reference.array == 200, 0, reference.array))
    scores = evaluate_masks(prediction, reference, {0: "background", 200: "far", 1: "near", 999: "absent"})
    assert list(scores) == [200, 1, 999]
    assert (scores[200].dice, scores[1].dice) == (0, 1)
    assert math.isnan(scores[999].dice)


def test_a_flat_picture_is_measured_in_its_units_and_has_no_volume() -> None:
    for units, spacing, distance in (("mm", (0.5, 0.5), 1.5), ("pixel", None, 3)):
        grid = Geometry.from_spacing((20, 20), spacing, units)
        scores = one(box((5, 6), (2, 9), grid=grid), box((8, 9), (2, 9), grid=grid))
        assert scores.hd95 == pytest.approx(distance)
        assert math.isnan(scores.volume)


def test_a_volume_of_one_slice_has_the_contours_of_a_flat_picture() -> None:
    flat, thin = Geometry.from_spacing((20, 20), (1, 2)), Geometry.from_spacing((1, 20, 20), (5, 1, 2))
    corners = ((3, 12), (4, 10)), ((5, 15), (4, 11))
    expected = one(*(box(*each, grid=flat) for each in corners))
    found = one(*(box((0, 1), *each, grid=thin) for each in corners))
    assert (found.hd95, found.assd, found.surface_dice) == (
        expected.hd95,
        expected.assd,
        expected.surface_dice,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "uint16"])
def test_masks_of_any_kind_of_number_are_taken(dtype: str) -> None:
    mask = box((2, 4), (2, 4), (2, 4))
    assert one(mask.with_array(mask.array.astype(dtype)), mask).dice == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((1, *GRID.shape), 0.5), "found fractions"),
        (np.full((1, *GRID.shape), np.nan), "found nan to nan"),
        (np.full((1, *GRID.shape), -1), "found -1 to -1"),
        (np.full((1, *GRID.shape), 70000), "found 70000 to 70000"),
        (np.zeros((2, *GRID.shape), np.uint8), "2 channels"),
    ],
)
def test_an_image_that_is_no_mask_is_refused(values: NDArray[np.generic], words: str) -> None:
    mask = box((2, 4), (2, 4), (2, 4))
    for pair in ((mask.with_array(values), mask), (mask, mask.with_array(values))):
        with pytest.raises(InputError, match=words):
            one(*pair)


def test_another_grid_is_refused() -> None:
    mask = box((2, 4), (2, 4), (2, 4))
    moved = Image(mask.array, GRID.cropped((1, 0, 0), GRID.shape))
    with pytest.raises(InputError, match="another grid than its reference: its voxels lie up to 3 mm away"):
        one(moved, mask)
    with pytest.raises(InputError, match="another grid than its reference: its shape is"):
        one(Image(mask.array[:, 1:], GRID.cropped((1, 0, 0), (11, 16, 14))), mask)
