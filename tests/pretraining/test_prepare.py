"""What of an image reaches the cache."""

import numpy as np
import pytest

from unimiss import io
from unimiss.data.cache import Cache
from unimiss.geometry import Geometry
from unimiss.pretraining.prepare import Frame, prepare_all


@pytest.mark.parametrize(
    ("frame", "kept"),
    [
        (Frame(), (slice(0, 20), slice(0, 10))),
        (Frame(central_crop=0.8), (slice(2, 18), slice(1, 9))),
        (Frame(central_crop=0.8, crop_above=12), (slice(2, 18), slice(0, 10))),
    ],
)
def test_the_middle_is_kept_in_plane(frame, kept):
    array = np.random.default_rng(0).random((1, 3, 20, 10), dtype=np.float32)
    np.testing.assert_array_equal(frame.apply(array), array[:, :, *kept])


def test_small_planes_are_padded_with_zero_at_their_end():
    out = Frame(least_plane=12).apply(np.ones((1, 3, 20, 10), np.float32))
    assert out.shape == (1, 3, 20, 12)
    assert out[..., :10].min() == 1
    assert out[..., 10:].max() == 0


def test_with_native_spacing_every_volume_keeps_its_grid(tmp_path):
    paths = []
    for i, spacing in enumerate([(3.0, 0.7, 0.7), (1.0, 2.0, 2.0)]):
        array = np.random.default_rng(i).normal(0, 300, (1, 6, 20 + i, 24)).astype(np.float32)
        paths.append(tmp_path / f"{i}.nii.gz")
        io.write(io.Image(array, Geometry.from_spacing(array.shape[1:], spacing)), paths[-1])
    cache = Cache(tmp_path / "cache")
    cases = prepare_all(paths, "native", cache, lambda share: None, pytest.fail).cases
    shapes = [cache.open(case.key, "image").shape for case in cases]
    assert shapes == [(1, 6, 20, 24), (1, 6, 21, 24)]
