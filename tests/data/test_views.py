"""Two random views of a volume: what they show, what may change their values, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unimiss.data import intensity, views
from unimiss.data.cache import Cache
from unimiss.data.views import volume_views

SIZE = (4, 32, 32)


@pytest.fixture
def slices() -> torch.Tensor:
    """Slices of CT-like values: smooth, with noise, each with a range of its own."""
    values = np.random.default_rng(0).normal(0, 4, (5, 40, 32))
    smooth = gaussian_filter(values, (0, 3, 3)) + np.linspace(-1, 2, 5)[:, None, None]
    return torch.from_numpy(smooth.astype(np.float32))


def per_slice(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def test_blur_is_scipy_s_on_the_chosen_slices_and_leaves_the_others(slices):
    before, sigma = slices.numpy().copy(), (0.1, 0.7, 2.0)
    intensity.blur(slices, torch.tensor([0, 2, 3]), per_slice(*sigma))
    for index, width in zip((0, 2, 3), sigma, strict=True):
        np.testing.assert_allclose(slices[index], gaussian_filter(before[index], width), atol=1e-4)
    np.testing.assert_array_equal(slices[[1, 4]], before[[1, 4]])
    assert np.abs(slices[3].numpy() - before[3]).max() > 0.01


def test_blur_mirrors_as_often_as_a_small_slice_needs():
    picture = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(picture[0].numpy(), intensity.LARGEST_SIGMA)
    intensity.blur(picture, torch.tensor([0]), per_slice(intensity.LARGEST_SIGMA))
    np.testing.assert_allclose(picture[0], expected, atol=1e-5)


def test_blur_of_no_slice_changes_nothing(slices):
    before = slices.clone()
    intensity.blur(slices, torch.tensor([], dtype=torch.long), per_slice())
    assert torch.equal(slices, before)


def unchanged(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parameters of `adjust` for five slices that change nothing but what is named."""
    one = torch.ones(5, 1, 1)
    return {"scale": one, "shift": 0 * one, "contrast": one} | changed


def test_scaling_and_shifting_come_before_the_contrast_within_the_range(slices):
    x = slices.numpy().astype(np.float64)
    scale, shift, contrast = (
        np.array(values)[:, None, None]
        for values in ([0.75, 1.0, 1.25, 1.1, 0.9], [0.4, -1.2, 0, 0, 0.1], [0.75, 0.9, 1.0, 1.1, 1.25])
    )
    x = x * scale + shift
    mean, low, high = (f(x, axis=(1, 2), keepdims=True) for f in (np.mean, np.min, np.max))
    intensity.adjust(slices, *(torch.from_numpy(v.astype(np.float32)) for v in (scale, shift, contrast)))
    np.testing.assert_allclose(slices, np.clip((x - mean) * contrast + mean, low, high), atol=1e-5)


def test_gamma_keeps_mean_and_spread_and_the_order_of_values(slices):
    before = slices.clone()
    intensity.adjust(slices, **unchanged(gamma=per_slice(0.7, 0.9, 1.0, 1.2, 1.5)))
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(moment(slices, (1, 2)), moment(before, (1, 2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(slices[2], before[2], atol=1e-4, rtol=0)
    assert not torch.allclose(slices[0], before[0], atol=1e-2)
    for x, order in zip(slices.flatten(1), before.flatten(1).argsort(), strict=True):
        assert (x[order].diff() >= 0).all()


def test_gamma_keeps_mean_and_spread_of_what_the_contrast_left(slices):
    straight, contrast = slices.clone(), per_slice(0.75, 0.9, 1.0, 1.1, 1.25)
    intensity.adjust(straight, **unchanged(contrast=contrast))
    intensity.adjust(slices, **unchanged(contrast=contrast, gamma=per_slice(1.5, 1.2, 1.1, 0.9, 0.7)))
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(moment(slices, (1, 2)), moment(straight, (1, 2)), atol=1e-5, rtol=1e-4)


def test_gamma_bends_by_the_power_of_its_exponent(slices):
    before, exponent = slices.double().clone(), per_slice(0.7, 0.9, 1.0, 1.2, 1.5)
    intensity.adjust(slices, **unchanged(gamma=exponent))
    low, high = before.amin((1, 2), keepdim=True), before.amax((1, 2), keepdim=True)
    expected = ((before - low) / (high - low)) ** exponent
    for x, y in zip(slices.double().flatten(1), expected.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([x, y]))[0, 1] > 1 - 1e-6


def test_a_constant_slice_stays_constant_and_finite():
    slices = torch.full((5, 16, 16), -1.0)
    intensity.adjust(
        slices, **unchanged(contrast=per_slice(0.75, 0.9, 1, 1.1, 1.25), gamma=torch.full((5, 1, 1), 0.7))
    )
    torch.testing.assert_close(slices, torch.full((5, 16, 16), -1.0), atol=1e-6, rtol=0)


def test_noise_has_its_spread_and_depends_on_its_place_alone():
    drawn = []
    for place in (0.0, 0.5, 0.5, 0.999999):
        slices = torch.zeros(16, 96, 96)
        intensity.add_noise(slices, 0.1, place, out=slices)
        drawn.append(slices.flatten())
    assert torch.equal(drawn[1], drawn[2])
    for one in drawn:
        assert float(one.std()) == pytest.approx(0.1, rel=0.02)
        assert abs(float(one.mean())) < 1e-3
    assert torch.corrcoef(torch.stack([drawn[0], drawn[1], drawn[3]])).triu(1).abs().max() < 0.02


def test_of_several_channels_one_is_drawn_for_both_views():
    volume = np.stack([np.full((9, 60, 70), 5.0), np.full((9, 60, 70), -5.0)]).astype(np.float16)
    signs = {
        np.sign(volume_views(volume, SIZE, np.random.default_rng(seed)).mean((1, 2, 3, 4))).sum()
        for seed in range(9)
    }
    assert signs == {2, -2}


def test_views_are_a_function_of_the_generator_whatever_torch_drew_before():
    volume = np.random.default_rng(0).random((1, 9, 60, 70)).astype(np.float16)
    first = volume_views(volume, SIZE, np.random.default_rng(3))
    torch.rand(7)
    again = volume_views(volume, SIZE, np.random.default_rng(3))
    other = volume_views(volume, SIZE, np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert {(view.shape, view.dtype) for view in first} == {((1, *SIZE), np.dtype(np.float32))}


def test_views_leave_the_volume_as_it_is():
    volume = np.random.default_rng(0).random((1, 4, 32, 32), dtype=np.float32)
    before = volume.copy()
    for seed in range(5):
        volume_views(volume, SIZE, np.random.default_rng(seed))
    np.testing.assert_array_equal(volume, before)


def test_a_cached_volume_gives_the_views_of_one_in_memory(tmp_path):
    volume, cache = np.random.default_rng(0).random((1, 20, 90, 70)).astype(np.float16), Cache(tmp_path)
    cache.ensure("key", lambda: {"image": volume})
    from_cache, from_memory = (
        volume_views(array, SIZE, np.random.default_rng(5)) for array in (cache.open("key", "image"), volume)
    )
    np.testing.assert_array_equal(from_cache, from_memory)


@pytest.mark.parametrize("shape", [(1, 2, 40, 50), (1, 4, 20, 30), (1, 30, 17, 64)])
def test_volumes_smaller_than_a_view_are_enlarged(shape):
    volume = np.random.default_rng(0).random(shape).astype(np.float16)
    for view in volume_views(volume, SIZE, np.random.default_rng(1)):
        assert view.shape == (1, *SIZE)
        assert np.isfinite(view).all()


def test_both_views_show_one_neighbourhood(monkeypatch):
    """Values that are a voxel's place, and stay so: a view then says where it lies."""
    monkeypatch.setattr(views, "_change_values", lambda *_: None)
    places = np.broadcast_to(np.arange(400, dtype=np.float32)[:, None], (1, 6, 400, 400))
    for seed in range(20):
        one, two = volume_views(places, SIZE, np.random.default_rng(seed))
        extents = [view.max() - view.min() for view in (one, two)]
        assert all(0.8 * 32 - 3 <= extent <= 1.2 * 32 + 1 for extent in extents)
        assert max(one.max(), two.max()) - min(one.min(), two.min()) <= 1.8 * 32


def test_a_resized_view_is_linear_in_depth_too():
    volume = np.broadcast_to(np.linspace(0, 1, 3, dtype=np.float32)[:, None, None], (1, 3, 16, 16))
    deeper = views._resize(torch.from_numpy(volume[0].copy()), (6, 16, 16))
    expected = np.interp((np.arange(6) + 0.5) / 2 - 0.5, np.arange(3), np.linspace(0, 1, 3))
    np.testing.assert_allclose(deeper[:, 5, 5], expected, atol=1e-6)
