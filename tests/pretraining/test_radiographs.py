"""Radiographs of CTs: made once, of CTs alone, seen as radiographs are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unimiss import io
from unimiss.data.cache import Cache, cache_key
from unimiss.data.preprocessing import PAPER_CT, Preprocessing
from unimiss.data.views import _resized_crop
from unimiss.drr import paper_radiograph
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.pretraining.batch import Sample, collate
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.order import dimension_at, steps_before
from unimiss.pretraining.prepare import Prepared, drr_array, prepare_all
from unimiss.pretraining.resolve import resolve_schedule, resolve_sizes
from unimiss.pretraining.sampling import Views

SPACING = (16.0, 14.0, 14.0)
DIRECTIONS = ("frontal", "lateral")


@pytest.fixture(scope="module")
def scans(torsos, tmp_path_factory) -> list[Path]:
    """A CT, and the same numbers as a scan of another kind would have them."""
    ct = sorted((torsos / "imagesTr").glob("*.nii.gz"))[0]
    image = io.read(ct)
    other = tmp_path_factory.mktemp("mr") / "mr.nii.gz"
    io.write(io.Image(image.array - image.array.min(), image.geometry), other)
    return [ct, other]


@pytest.fixture(scope="module")
def warnings() -> list[str]:
    return []


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prepared(scans, cache, warnings) -> list[Prepared]:
    return prepare_all(scans, SPACING, cache, lambda share: None, warnings.append, DIRECTIONS).cases


def settings(**changes: object) -> PretrainConfig:
    values = {
        "images": ["a"], "volumes": ["b"], "objective": "unimiss+", "steps": 40, "epoch_2d": 2, "epoch_3d": 3,
        "epochs_each": 1, "batch_2d": 2, "batch_3d": 2, "size_2d": (32, 40), "size_3d": (4, 32, 32),
        "drr_views": DIRECTIONS,
    }  # fmt: skip
    return PretrainConfig.build(values | changes)


def test_the_cache_holds_the_radiographs_of_the_prepared_ct(scans, prepared, cache):
    image = io.read(scans[0])
    array = Preprocessing(spacing=SPACING, intensity=PAPER_CT).prepare(image)
    volume, geometry = torch.from_numpy(array)[None], image.geometry.resized(array.shape[1:])
    assert prepared[0].has_drr
    for view in DIRECTIONS:
        stored = cache.open(prepared[0].key, drr_array(view))[:]
        expected = paper_radiograph(volume, geometry, view)[0].numpy()
        assert stored.dtype == np.float16
        np.testing.assert_allclose(stored, expected, atol=1e-3)
        assert (stored.min(), stored.max()) == (0, 1)


def test_the_radiograph_of_a_flat_volume_is_no_endless_strip(scans, cache):
    flat = scans[1].with_name("flat.nii.gz")
    array = np.linspace(-1000, 500, 6 * 80 * 80, dtype=np.float32).reshape(1, 6, 80, 80)
    io.write(io.Image(array, Geometry.from_spacing((6, 80, 80), (1.0, 4.0, 4.0))), flat)
    (case,) = prepare_all([flat], (1.0, 4.0, 4.0), cache, lambda share: None, print, ("frontal",)).cases
    rows, columns = cache.open(case.key, drr_array("frontal")).shape[1:]
    assert 16 <= rows < columns
    assert columns <= 1024


def test_what_is_no_ct_has_no_radiograph_and_that_is_said_once(scans, prepared, cache, warnings):
    assert not prepared[1].has_drr
    assert not cache.holds(prepared[1].key, drr_array("frontal"))
    assert len(warnings) == 1
    assert str(scans[1]) in warnings[0]
    assert "1 of 2 volumes" in warnings[0]


def test_caches_without_radiographs_stay_valid(scans, cache):
    (plain,) = prepare_all(scans[:1], SPACING, cache, lambda share: None, print).cases
    assert plain.key == cache_key((scans[0],), f"pretrain|{SPACING}")
    assert not plain.has_drr


def test_a_batch_says_which_volumes_its_radiographs_show(prepared, cache):
    views = Views(settings(), [], prepared, cache)
    for step in (0, 1):
        samples = [views[(step, slot)] for slot in range(2)]
        again = [views[(step, slot)] for slot in range(2)]
        with_drr = [i for i, sample in enumerate(samples) if sample.drr is not None]
        batch = collate(samples)
        assert batch.shown.tolist() == with_drr
        assert len(with_drr) == 1  # each pass holds both volumes
        assert batch.drr.shape == (2, 3, 32, 40)
        assert torch.equal(batch.drr, collate(again).drr)
        assert 0 <= batch.drr.min() < batch.drr.max() <= 1


def test_every_direction_is_shown(cache, tmp_path):
    mine = Cache(tmp_path)
    arrays = {drr_array("frontal"): np.zeros((1, 40, 40), np.float16)}
    arrays |= {drr_array("lateral"): np.ones((1, 40, 40), np.float16), "image": np.zeros((1, 6, 40, 40))}
    mine.ensure("case", lambda: arrays)
    views = Views(settings(epoch_3d=20), [], [Prepared(Path("case"), "case", True)], mine)
    shown = {bool(views[(step, 0)].drr.max() > 0.1) for step in range(12)}
    assert shown == {False, True}


def test_views_of_a_radiograph_show_at_least_three_tenths_of_it():
    rng = np.random.default_rng(0)
    for least in (0.3, 0.14):
        areas = []
        for _ in range(500):
            rows, columns = _resized_crop((200, 200), rng, least)
            areas.append((rows.stop - rows.start) * (columns.stop - columns.start) / 200**2)
        assert least - 0.01 < min(areas) < least + 0.05
        assert max(areas) > 0.9


def test_second_views_come_after_all_first_ones():
    of_volume = [torch.full((2, 1, 1, 1, 1), float(i)) for i in range(3)]
    of_drr = [torch.tensor([[10.0 + i], [20.0 + i]]) for i in range(3)]
    batch = collate([Sample(of_volume[0], of_drr[0]), Sample(of_volume[1]), Sample(of_volume[2], of_drr[2])])
    assert batch.drr.flatten().tolist() == [10, 12, 20, 22]
    assert batch.shown.tolist() == [0, 2]
    assert batch.to(torch.device("meta")).drr.is_meta


def test_dimensions_alternate_every_epoch_and_3d_begins():
    config = settings()
    order = [dimension_at(step, config) for step in range(12)]
    assert order == [3, 3, 3, 2, 2, 3, 3, 3, 2, 2, 3, 3]
    for dimension in (2, 3):
        counted = [steps_before(step, dimension, config) for step in range(12)]
        assert counted == [order[:step].count(dimension) for step in range(12)]
    alone = settings(volumes=[])
    assert {dimension_at(step, alone) for step in range(12)} == {2}


def test_the_paper_preset_is_the_papers():
    config = PretrainConfig(images=["a"], volumes=["b"], objective="unimiss+", network="plus", preset="paper")
    sized, reasons = resolve_sizes(config, 1000, 1000, ((3.0, 1.0, 1.0), (72.0, 400.0, 400.0)), 8)
    full, _ = resolve_schedule(sized, 960, 960)
    assert (full.batch_2d, full.batch_3d, full.size_2d, full.size_3d) == (96, 96, (96, 96), (16, 96, 96))
    assert (full.drr_views, full.decoder_drop_path, full.clip, full.epochs_each) == (("axial",), 0.1, 0, 1)
    assert (full.steps, full.warmup, full.freeze_last) == (4010, 100, 20)
    assert (full.drr_weight, full.slices_weight, full.reconstruction_weight) == (0.5, 0.1, 5)
    assert full.lr == pytest.approx(8e-4 * 96 / 256)
    assert reasons["clip"] == "the paper's"


@pytest.mark.parametrize(
    ("objective", "depth", "each", "views"),
    [
        ("unimiss", 300.0, 2, ()),
        ("unimiss+", 300.0, 1, ("frontal", "lateral")),
        ("unimiss+", 72.0, 1, ("axial",)),
    ],
)
def test_auto_depends_on_objective_and_volumes(objective, depth, each, views):
    config = PretrainConfig(images=["a"], volumes=["b"], objective=objective)
    sized, _ = resolve_sizes(config, 10, 10, ((3.0, 1.0, 1.0), (depth, 400.0, 400.0)), 1)
    full, _ = resolve_schedule(sized, 10, 10)
    assert (full.epochs_each, full.drr_views, full.decoder_drop_path) == (each, views, 0)
    PretrainConfig.build(full.model_dump())  # what a resumed run reads


@pytest.mark.parametrize("preset", ["auto", "paper", "demo"])
@pytest.mark.parametrize("objective", ["unimiss", "unimiss+"])
def test_every_auto_value_is_written_down_with_its_reason(preset, objective):
    config = PretrainConfig(images=["a"], volumes=["b"], preset=preset, objective=objective)
    sized, reasons = resolve_sizes(config, 10, 10, ((3.0, 1.0, 1.0), (72.0, 400.0, 400.0)), 1)
    full, more = resolve_schedule(sized, 10, 10)
    resolved = {name for name, value in config if value == "auto"} - {"preset"}
    assert {name for name, value in full if value == "auto"} <= {"preset"}
    assert set(reasons | more) == resolved


def test_few_images_still_make_a_batch_that_signals_can_judge():
    config = PretrainConfig(images=["a"], volumes=["b"])
    sized, reasons = resolve_sizes(config, 1, 3, ((3.0, 1.0, 1.0), (72.0, 400.0, 400.0)), 1)
    assert (sized.batch_2d, sized.batch_3d) == (4, 4)
    assert reasons["batch_2d"] == "there are 1 images"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"center_each_term": True}, "center_each_term"),
        ({"objective": "unimiss"}, "drr_views"),
        ({"drr_views": ("axial", "axial")}, "twice"),
        ({"drr_views": ("oblique",)}, "drr_views"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        settings(**wrong)
