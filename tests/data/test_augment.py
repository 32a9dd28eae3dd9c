"""Random changes of samples: how far they go, where they are off, and what they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unimiss.data.augment import Augmentation, _bend, _matrices, augment

STILL = {"rotation": 0.0, "scaling": (1.0, 1.0)}
FINE = (1.0, 1.0, 1.0)


def places(batch: int, *shape: int) -> Tensor:
    """A channel for each axis, holding where a voxel lies along it: -1 to 1 from end to end."""
    axes = [torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).repeat(batch, *[1] * (len(shape) + 1))


def moved(how: Augmentation, *shape: int, batch: int = 32, seed: int = 0) -> Tensor:
    """Where each place of augmented samples comes from, (B, axes, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    return augment(torch.rand(batch, 1, *shape), places(batch, *shape), FINE[: len(shape)], how, generator)[1]


@pytest.mark.parametrize("shape", [(24, 32), (8, 24, 32)])
def test_with_everything_off_nothing_moves(shape):
    torch.testing.assert_close(moved(Augmentation(**STILL), *shape), places(32, *shape))


def test_the_same_generator_gives_the_same_changes():
    how = Augmentation(True, elastic=0.5, low_resolution=0.5, crop=(0.3, 1.0))
    first, again, other = (moved(how, 24, 24, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_angle_is_larger_than_the_largest():
    found = moved(Augmentation(rotation=40.0, scaling=(1.0, 1.0)), 33, 33, batch=200)[:, :, 16, 20:22]
    along = found[..., 1] - found[..., 0]
    angles = torch.rad2deg(torch.atan2(along[:, 0], along[:, 1])).abs()
    assert 25 < angles.max() < 60  # steps of whole pixels are no exact measure of it
    assert (angles == 0).float().mean() > 0.3


def test_a_rotation_is_one_in_millimetres_whatever_the_shape_of_pixels():
    images, spacing = torch.zeros(50, 1, 32, 64), (3.0, 0.5)
    how = Augmentation(rotation=40.0, scaling=(1.0, 1.0))
    turned = _matrices(images, spacing, how, torch.Generator().manual_seed(0))[:, :, :2]
    extent = torch.tensor([64 * 0.5, 32 * 3.0])
    in_millimetres = extent[:, None] * turned / extent
    torch.testing.assert_close(in_millimetres @ in_millimetres.mT, torch.eye(2).expand(50, 2, 2))
    assert (turned[:, 0, 1].abs() > 0.1).any()


def test_a_shift_is_at_most_its_share_of_the_length():
    found = moved(Augmentation(shift=0.1, **STILL), 40, 60, batch=200)
    away = (found - places(200, 40, 60))[:, :, 20, 30].abs()
    assert (away.amax(dim=0) > 0.17).all()
    assert away.max() <= 0.2 + 1 / 40  # an axis is 2 long; labels come from the nearest pixel


def test_scaling_is_a_factor_of_the_size_of_what_is_seen():
    found = moved(Augmentation(rotation=0.0, scaling=(2.0, 3.0)), 64, 64)
    seen = (found.amax(dim=(2, 3)) - found.amin(dim=(2, 3))) / 2
    scaled = seen[:, 0] < 0.9
    assert 0.2 < scaled.float().mean() < 0.8
    assert seen[scaled].min() > 1 / 3 - 0.05
    assert seen[scaled].max() < 1 / 2 + 0.05


def test_a_crop_lies_inside_the_image_and_has_the_share_and_the_sides_that_were_asked_for():
    found = moved(Augmentation(**STILL, crop=(0.25, 0.5)), 96, 96, batch=100)
    first, last = found[:, :, 0, 0], found[:, :, -1, -1]
    sides = (last - first) / (2 * 95 / 96)
    area, ratio = sides.prod(dim=1), sides[:, 0] / sides[:, 1]
    assert area.min() > 0.23
    assert area.max() < 0.53
    assert area.max() - area.min() > 0.15
    assert ratio.min() > 0.7
    assert ratio.max() < 1.43
    middle = (first + last) / 2
    assert (middle.abs() + sides < 1.03).all()
    assert middle.std() > 0.1


def test_bending_moves_the_chosen_samples_smoothly_and_never_folds_them():
    shape = (16, 32, 32)
    straight = places(64, *shape).flip(1).movedim(1, -1)  # x, y, z
    bent = straight.clone()
    _bend(bent, 0.5, torch.Generator().manual_seed(0))
    changed = (bent != straight).flatten(1).any(dim=1)
    assert 0.25 < changed.float().mean() < 0.75
    shift = (bent - straight)[changed]
    assert shift.abs().max() > 0.05
    slopes = torch.stack([torch.diff(bent[changed], dim=axis)[:, :15, :31, :31] for axis in (3, 2, 1)], -1)
    assert torch.linalg.det(slopes).min() > 0


def test_low_resolution_takes_detail_from_its_share_of_the_images_and_no_slices_of_thick_ones():
    stripes = torch.arange(32).remainder(2).float()
    flat, thick = stripes.expand(64, 1, 8, 32, 32), stripes[:8, None, None].expand(64, 1, 8, 32, 32)

    def kept(images: Tensor, spacing: tuple[float, ...]) -> Tensor:
        """Correlation of each image with what it was, which no change of contrast alters."""
        how = Augmentation(**STILL, low_resolution=0.5)
        found, _ = augment(images.clone(), None, spacing, how, torch.Generator().manual_seed(0))
        pairs = zip(images.flatten(1), found.flatten(1), strict=True)
        return torch.tensor([float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs])

    assert 0.25 < (kept(flat, (2.0, 1.0, 1.0)) < 0.8).float().mean() < 0.75
    assert kept(thick, (2.0, 1.0, 1.0)).min() > 0.95
    assert kept(thick, FINE).nan_to_num().min() < 0.8  # none is left of one that has only even slices


def test_labels_keep_their_values_when_detail_is_lost_and_space_is_bent():
    labels = torch.randint(0, 3, (8, 1, 24, 24)).float()
    how = Augmentation(elastic=1.0, low_resolution=1.0)
    _, found = augment(torch.rand(8, 1, 24, 24), labels, (1.0, 1.0), how, torch.Generator().manual_seed(0))
    assert set(found.unique().tolist()) == {0.0, 1.0, 2.0}


def values_after(images: Tensor, seed: int = 0) -> Tensor:
    """Augmented values of images that do not move."""
    return augment(
        images.clone(), None, (1.0, 1.0), Augmentation(**STILL), torch.Generator().manual_seed(seed)
    )[0]


def test_repeated_grey_stays_grey_and_colours_change_channel_by_channel():
    ramp = torch.linspace(0, 1, 24 * 24).reshape(1, 1, 24, 24)
    grey, colour = ramp.expand(64, 3, 24, 24), torch.cat([ramp, ramp * 10, ramp.flip(3)], dim=1)
    mixed = torch.cat([grey, colour.expand(64, 3, 24, 24)])
    found = values_after(mixed)
    assert torch.equal(found[:64, :1].expand(-1, 3, -1, -1), found[:64])
    assert (found[:64] - grey).abs().amax() > 0.1
    factors = (found / mixed.clamp(min=0.01)).amax(dim=(2, 3))[64:]
    assert ((factors[:, 0] / factors[:, 1] - 1).abs() > 0.05).float().mean() > 0.25


def test_each_channel_changes_within_its_own_range_whatever_the_others_hold():
    small, large = torch.rand(200, 1, 16, 16), 100 * torch.rand(200, 1, 16, 16) + 50
    found = values_after(torch.cat([small, large], dim=1))
    assert found[:, 0].amax() < 2
    assert found[:, 0].amin() > -1
    assert found[:, 1].amin() > 50 * 0.7  # a gamma or contrast over both would reach far below


def test_brightness_is_a_factor_that_clips_nothing():
    images = torch.rand(200, 1, 16, 16) + 1
    highest = values_after(images).flatten(1).amax(dim=1) / images.flatten(1).amax(dim=1)
    assert highest.max() > 1.15
    assert highest.max() < 1.3 + 0.3  # brightness and noise
