"""Only the largest component of each class stays."""

from __future__ import annotations

import numpy as np
import pytest

from unimiss.inference.components import keep_largest


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_each_class_keeps_its_largest_component_and_the_rest_becomes_background(kind):
    mask = np.zeros((6, 12, 12), kind)
    mask[:2, :3, :3] = 2  # 18 voxels
    mask[4:, 6:9, 6:10] = 2  # 24
    mask[0, 11, 11] = 7
    mask[5, 0, :2] = 7
    mask[2, 3, 3] = 5  # alone
    expected = mask.copy()
    expected[:2, :3, :3] = 0
    expected[0, 11, 11] = 0
    keep_largest(mask)
    np.testing.assert_array_equal(mask, expected)


def test_corners_connect_and_of_two_that_are_alike_the_first_stays():
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0] = mask[1, 1] = 1
    mask[5, 5:7] = 1
    expected = mask.copy()
    expected[5] = 0
    keep_largest(mask)
    np.testing.assert_array_equal(mask, expected)


def test_a_component_does_not_lose_what_another_class_holds_inside_it():
    mask = np.ones((9, 9), np.uint8)
    mask[3:6, 3:6] = 2
    expected = mask.copy()
    mask[4, 4] = 1  # an island of class 1 inside class 2
    expected[4, 4] = 0
    keep_largest(mask)
    np.testing.assert_array_equal(mask, expected)
