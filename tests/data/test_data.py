"""Splits by patient, preprocessing, cache, patches."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import unimiss as engine
from unimiss.data.augment import Augmentation, augment
from unimiss.data.cache import Cache, cache_key
from unimiss.data.cases import find_images, fold_of, is_held_out
from unimiss.data.datasets import read_dataset
from unimiss.data.patches import class_points, cut_patch, draw_start
from unimiss.data.preprocessing import BY_PERCENTILE, Intensity, Preprocessing
from unimiss.errors import InputError, JobError


def test_the_evaluation_split_is_the_documented_one():
    import zlib

    for i in range(200):
        key = f"hippocampus_{i:03d}"
        assert is_held_out(key, 5) == (zlib.crc32(key.encode()) % 5 == 0)
    assert not any(is_held_out(str(i), 0) for i in range(50))


def test_folds_are_even_and_do_not_depend_on_order():
    patients = [f"p{i}" for i in range(23)]
    folds = fold_of(patients, 5)
    counts = np.bincount(list(folds.values()))
    assert counts.max() - counts.min() <= 1
    assert fold_of(patients[::-1] * 2, 5) == folds


def test_masks_of_a_data_set_are_no_images(tmp_path):
    for name in ("imagesTr/a.nii.gz", "imagesTs/b.nii.gz", "labelsTr/a.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_images([tmp_path])] == ["a.nii.gz", "b.nii.gz"]
    assert len(find_images([tmp_path / "labelsTr"])) == 1


@pytest.mark.parametrize("style", ["decathlon", "nnunet"])
def test_label_names_are_read_in_both_styles(tmp_path, style):
    labels = {"0": "background", "5": "x"} if style == "decathlon" else {"background": 0, "x": 5}
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "imagesTr" / ("a.nii.gz" if style == "decathlon" else "a_0000.nii.gz")).touch()
    (tmp_path / "labelsTr" / "a.nii.gz").touch()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    dataset = read_dataset(tmp_path)
    assert dataset.labels == {0: "background", 5: "x"}
    assert len(dataset.cases) == 1


def volume(array, spacing=(3.0, 1.0, 1.0)) -> engine.Image:
    return engine.Image(array[None], engine.Geometry.from_spacing(array.shape, spacing))


def test_resampling_covers_the_same_extent():
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), (6, 10, 20)).copy()
    settings = Preprocessing(
        spacing=(3.0, 1.0, 0.5), intensity=Intensity(scheme="hounsfield", low=-99, high=99)
    )
    out = settings.prepare(volume(ramp))
    assert out.shape == (1, 6, 10, 40)
    expected = (np.arange(40) + 0.5) / 2 - 0.5  # centres of half-sized voxels over the same extent
    np.testing.assert_allclose(out[0, 3, 5, 2:-2], expected[2:-2], atol=1e-4)


def test_labels_are_resampled_onto_the_image_s_grid():
    labels = np.zeros((6, 10, 20), np.uint8)
    labels[2:4, 3:6, 5:9] = 9
    settings = Preprocessing(spacing=(1.5, 0.5, 0.5), intensity=BY_PERCENTILE)
    out = settings.prepare_labels(volume(labels), [0, 9])
    expected = (labels == 9).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(out[0], expected)


def test_values_that_are_not_finite_do_no_harm():
    array = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    out = Preprocessing(spacing=(3, 1, 1), intensity=BY_PERCENTILE).prepare(volume(array))
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_an_image_of_another_dimension_is_refused():
    flat = engine.Image(np.ones((1, 8, 8)), engine.Geometry.from_spacing((8, 8)))
    with pytest.raises(InputError, match="takes volumes"):
        Preprocessing(spacing=(1, 1, 1), intensity=BY_PERCENTILE).prepare(flat)


def test_three_channels_are_colours_of_flat_images_but_not_of_volumes():
    colours = np.zeros((3, 8, 8), np.float32)
    colours[1, 2:4] = 100
    flat = engine.Image(colours, engine.Geometry.from_spacing((8, 8)))
    assert Preprocessing(size=(8, 8), intensity=BY_PERCENTILE).prepare(flat).shape == (1, 8, 8)
    with pytest.raises(InputError, match="has 3 channels; this model takes 1"):
        Preprocessing(spacing=(1, 1, 1), intensity=BY_PERCENTILE).prepare(
            engine.Image(np.zeros((3, 4, 8, 8), np.float32), engine.Geometry.from_spacing((4, 8, 8)))
        )


def test_a_case_is_made_once_and_read_in_pieces(tmp_path):
    cache, made = Cache(tmp_path), []
    array = np.random.default_rng(0).random((1, 70, 90, 80)).astype(np.float16)

    def make():
        made.append(1)
        return {"image": array}

    assert cache.ensure("key", make)
    assert not cache.ensure("key", make)
    assert made == [1]
    np.testing.assert_array_equal(cache.open("key", "image")[:, 3:9, 60:80, 5], array[:, 3:9, 60:80, 5])


def test_an_interrupted_case_leaves_nothing_behind(tmp_path):
    def make():
        return {"image": np.zeros((1, 4)), "bad/name": np.zeros((1, 4))}

    with pytest.raises(JobError, match="cache"):
        Cache(tmp_path).ensure("key", make)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_gets_another_key(tmp_path):
    file = tmp_path / "secret-patient-name.nii"
    file.write_bytes(b"1")
    first = cache_key((file,), "recipe")
    assert cache_key((file,), "recipe") == first
    assert cache_key((file,), "other") != first
    assert "secret" not in first
    file.write_bytes(b"12")
    assert cache_key((file,), "recipe") != first


def test_foreground_patches_hold_their_class_and_small_cases_are_padded():
    labels = np.zeros((1, 20, 40, 40), np.uint8)
    labels[0, 15:18, 30:33, 2:5] = 2
    points = class_points(labels, 3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        start = draw_start((20, 40, 40), (8, 16, 16), points, 1.0, rng)
        assert (cut_patch(labels, start, (8, 16, 16), 0) == 2).any()
    start = draw_start((4, 40, 40), (8, 16, 16), points[:0], 0.5, rng)
    patch = cut_patch(labels[:, :4] + 7, start, (8, 16, 16), 0)
    assert patch.shape == (1, 8, 16, 16)
    assert (patch[:, 2:6] == 7).all()
    assert (patch[:, :2] == 0).all()


def test_beyond_a_case_each_channel_has_its_own_smallest_value():
    volume = np.stack([np.full((4, 8, 8), -1000.0), np.full((4, 8, 8), 0.5)])
    patch = cut_patch(volume, [-2, 0, 0], (8, 8, 8), None)
    assert patch.shape == (2, 8, 8, 8)
    assert (np.unique(patch[0]), np.unique(patch[1])) == (-1000.0, 0.5)


def test_patches_of_a_case_without_foreground_lie_anywhere(tmp_path):
    points = class_points(np.zeros((1, 20, 40, 40), np.uint8), 3)
    assert set(points[:, 0]) == {0}
    Cache(tmp_path).ensure("key", lambda: {"points": points})
    rng = np.random.default_rng(0)
    starts = np.array([draw_start((20, 40, 40), (8, 16, 16), points, 1.0, rng) for _ in range(200)])
    assert starts.min() == 0
    np.testing.assert_array_equal(starts.max(axis=0), [12, 24, 24])


def test_augmentation_moves_image_and_label_together_and_keeps_identity_where_nothing_is_drawn():
    z, y, x = np.meshgrid(np.arange(8), np.arange(32), np.arange(32), indexing="ij")
    ball = ((z - 4) * 3) ** 2 + (y - 16) ** 2 + (x - 16) ** 2 < 100
    images = torch.from_numpy(ball.astype(np.float32))[None, None].repeat(16, 1, 1, 1, 1)
    labels = images.clone()
    generator = torch.Generator().manual_seed(0)
    moved, moved_labels = augment(images, labels, (3.0, 1.0, 1.0), Augmentation(mirror=True), generator)
    assert moved.shape == images.shape
    assert set(moved_labels.unique().tolist()) == {0.0, 1.0}
    for image, label in zip(moved, moved_labels, strict=True):
        assert image[label > 0].mean() > image[label == 0].mean() + 0.5
    # A ball stays one under rotation in millimetres on thick slices: its extent changes by scaling alone.
    sizes = moved_labels.sum(dim=(1, 2, 3, 4)) / labels[0].sum()
    assert sizes.min() > 0.4
    assert sizes.max() < 2.1
