"""Position tables at other grids: against an interpolation computed directly, tap by tap."""

import itertools

import numpy as np
import pytest
import torch

from unimiss.models.position import resize_table

CUBIC = -0.75  # of the cubic kernel that bicubic interpolation uses


def cubic(distance):
    d, a = abs(distance), CUBIC
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def linear(distance):
    return max(0.0, 1 - abs(distance))


def weights(old, new, kernel, taps):
    """Matrix (new, old) of one axis: places of the new grid at (i + 0.5) / scale - 0.5, edges repeated."""
    if new == old:
        return np.eye(old)
    matrix, scale = np.zeros((new, old)), (new + 0.1) / old
    for i in range(new):
        place = (i + 0.5) / scale - 0.5
        if kernel is linear:
            place = max(place, 0.0)
        for tap in range(int(np.floor(place)) - taps + 1, int(np.floor(place)) + taps + 1):
            matrix[i, min(max(tap, 0), old - 1)] += kernel(place - tap)
    return matrix


@pytest.mark.parametrize(
    ("native", "grid"),
    [
        ((6, 6), (4, 9)),
        ((7, 7), (7, 5)),
        ((14, 14), (6, 6)),
        ((4, 6, 6), (6, 8, 8)),
        ((8, 4, 4), (16, 3, 5)),
        ((8, 6, 6), (4, 6, 6)),
        ((8, 24, 24), (8, 32, 32)),
        ((2, 3, 5), (3, 7, 1)),
    ],
)
@pytest.mark.parametrize("class_entry", [True, False])
def test_tables_equal_a_directly_computed_interpolation(native, grid, class_entry):
    torch.manual_seed(0)
    table = torch.randn(1, class_entry + int(np.prod(native)), 5)
    kernel, taps = (cubic, 2) if len(native) == 2 else (linear, 1)
    expected = table[0, int(class_entry) :].numpy().reshape(*native, 5).astype(np.float64)
    for axis, (old, new) in enumerate(zip(native, grid, strict=True)):
        matrix = weights(old, new, kernel, taps)
        expected = np.moveaxis(np.tensordot(matrix, expected, axes=(1, axis)), 0, axis)
    resized = resize_table(table, native, grid)
    assert resized.shape == (1, class_entry + np.prod(grid), 5)
    np.testing.assert_allclose(resized[0, int(class_entry) :].numpy(), expected.reshape(-1, 5), atol=1e-5)
    if class_entry:
        assert torch.equal(resized[:, 0], table[:, 0])


@pytest.mark.parametrize("axes", [2, 3])
def test_every_axis_is_interpolated_on_its_own(axes):
    # Turning the table's axes and turning the result's are the same, however unequal the grid is.
    native, grid = (5, 4, 6)[:axes], (7, 3, 9)[:axes]
    table = torch.randn(*native, 2)
    for order in itertools.permutations(range(axes)):
        turned = table.permute(*order, axes).reshape(1, -1, 2)
        there = resize_table(turned, tuple(native[i] for i in order), tuple(grid[i] for i in order))
        back = there.view(*(grid[i] for i in order), 2).permute(*np.argsort(order).tolist(), axes)
        straight = resize_table(table.view(1, -1, 2), native, grid).view(*grid, 2)
        torch.testing.assert_close(back, straight)


def test_the_native_grid_leaves_a_table_untouched():
    table = torch.randn(1, 1 + 12, 5)
    assert resize_table(table, (3, 4), (3, 4)) is table
